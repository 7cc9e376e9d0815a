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
