//! What a deployment changes.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: DeployArgs,
}

fn check(words: &[&str], deployed: &FunctionConfiguration, expected: Value) {
    let args = Cli::parse_from(["deploy", "."].iter().chain(words)).args;
    let plan = Plan {
        runtime: "python3.11".to_owned(),
        handler: "app.handler".to_owned(),
    };
    assert_eq!(
        Value::Object(changes(&args, &plan, deployed)),
        expected,
        "{words:?}"
    );
}

#[test]
fn only_what_differs_is_sent() {
    let new = FunctionConfiguration::default();
    check(
        &[],
        &new,
        json!({"Runtime": "python3.11", "Handler": "app.handler"}),
    );
    let mut deployed = FunctionConfiguration {
        runtime: Some("python3.11".to_owned()),
        handler: Some("app.handler".to_owned()),
        memory_size: 512,
        timeout: 3,
        ..FunctionConfiguration::default()
    };
    check(&[], &deployed, json!({}));
    check(
        &["--memory", "512", "--timeout", "4"],
        &deployed,
        json!({"Timeout": 4}),
    );
    let environment = json!({"Environment": {"Variables": {"A": "1", "B": "x=y"}}});
    check(&["--env", "B=x=y", "--env", "A=1"], &deployed, environment);
    deployed.environment = serde_json::from_value(json!({"Variables": {"A": "1"}})).expect("Lambda's JSON");
    check(&["--env", "A=1"], &deployed, json!({}));
    check(
        &["--env", "A=2"],
        &deployed,
        json!({"Environment": {"Variables": {"A": "2"}}}),
    );
    check(&[], &deployed, json!({}));
}

#[test]
fn the_rule_of_the_network_is_a_variable_that_others_do_not_replace() {
    let mut deployed = FunctionConfiguration {
        runtime: Some("python3.11".to_owned()),
        handler: Some("app.handler".to_owned()),
        ..FunctionConfiguration::default()
    };
    let variables = |variables: Value| json!({"Environment": {"Variables": variables}});
    let none = variables(json!({"SQUALL_NETWORK": "none"}));
    check(&["--network", "none"], &deployed, none);
    let there = json!({"Variables": {"A": "1", "SQUALL_NETWORK": "none"}});
    deployed.environment = serde_json::from_value(there).expect("Lambda's JSON");
    check(&["--network", "none"], &deployed, json!({}));
    let kept = variables(json!({"A": "2", "SQUALL_NETWORK": "none"}));
    check(&["--env", "A=2"], &deployed, kept);
    let opened = variables(json!({"A": "1", "SQUALL_NETWORK": "host"}));
    check(&["--network", "host"], &deployed, opened);
}

#[test]
fn a_variable_needs_a_name() {
    assert!(Cli::try_parse_from(["deploy", ".", "--env", "=1"]).is_err());
    assert!(Cli::try_parse_from(["deploy", ".", "--env", "A"]).is_err());
    assert!(Cli::try_parse_from(["deploy", ".", "--env", "A="]).is_ok());
}

#[test]
fn a_list_goes_with_its_rule() {
    let plan_fields = json!({"Runtime": "python3.11", "Handler": "app.handler"});
    let mut deployed: FunctionConfiguration = serde_json::from_value(plan_fields).expect("Lambda's JSON");
    let mut step = |words: &[&str], there: Value, expected: Value| {
        deployed.environment =
            Some(serde_json::from_value(json!({"Variables": there})).expect("Lambda's JSON"));
        check(words, &deployed, json!({"Environment": {"Variables": expected}}));
    };
    let listed = |list: &str| json!({"SQUALL_NETWORK": "egress", "SQUALL_EGRESS": list});
    step(
        &["--egress", "a.example:443,*.b.example"],
        json!({}),
        listed("a.example:443,*.b.example"),
    );
    step(
        &["--egress", "a.example", "--egress", "10.0.0.0/8:1"],
        json!({}),
        listed("a.example,10.0.0.0/8:1"),
    );
    step(
        &["--network", "egress"],
        json!({}),
        json!({"SQUALL_NETWORK": "egress"}),
    );
    step(
        &["--network", "host"],
        listed("a.example"),
        json!({"SQUALL_NETWORK": "host"}),
    );
    step(
        &["--egress", "b.example"],
        listed("a.example"),
        listed("b.example"),
    );
    let mut with_other = listed("a.example");
    with_other["A"] = json!("1");
    step(&["--env", "A=1"], listed("a.example"), with_other);
    // Given as a variable, the rule is what is given.
    let given = json!({"SQUALL_NETWORK": "none"});
    step(&["--env", "SQUALL_NETWORK=none"], listed("a.example"), given);
}

#[test]
fn a_list_without_a_use_is_refused() {
    for (words, refused) in [
        (&["--network", "none", "--egress", "a.example"][..], true),
        (&["--network", "host", "--egress", "a.example"], true),
        (&["--network", "egress", "--egress", "a.example"], false),
        (&["--egress", "a.example"], false),
    ] {
        let args = Cli::parse_from(["deploy", "."].iter().chain(words)).args;
        assert_eq!(args.network.check().is_err(), refused, "{words:?}");
    }
}
