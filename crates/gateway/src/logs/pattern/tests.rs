//! Patterns on lines, by example and by property.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(pattern: &str, fits: &[&str], others: &[&str]) {
    let read = Pattern::parse(pattern).unwrap_or_else(|error| panic!("`{pattern}`: {error}"));
    for line in fits {
        assert!(read.matches(line), "`{pattern}` fits `{line}`");
    }
    for line in others {
        assert!(!read.matches(line), "`{pattern}` does not fit `{line}`");
    }
}

#[track_caller]
fn refused(pattern: &str, words: &str) {
    let error = Pattern::parse(pattern).expect_err(pattern).to_string();
    assert!(error.contains(words), "`{pattern}`: {error}");
}

#[test]
fn an_empty_pattern_fits_everything() {
    check("", &["", "a"], &[]);
    check("  ", &["a"], &[]);
}

#[test]
fn terms_phrases_alternatives_and_exclusions() {
    check("ERROR", &["an ERROR here", "ERRORS"], &["error", ""]);
    check("ERROR disk", &["disk: ERROR"], &["ERROR", "disk"]);
    check("\"disk full\"", &["the disk full."], &["full disk"]);
    check("\"a \\\"b\\\"\"", &["a \"b\""], &["a b"]);
    check("?ERROR ?WARN", &["WARN x", "ERROR"], &["INFO"]);
    check("ERROR -retry", &["ERROR"], &["ERROR retry", "x"]);
    check("-\"no way\"", &["way no", ""], &["no way"]);
    check("ERROR ?WARN", &["ERROR"], &["WARN"]);
    refused("%[0-9]%", "regular expressions");
    refused("user-agent", "double quotes");
    refused("\"open", "no end");
    refused("a \"\"", "empty");
    refused(&"x".repeat(1025), "at most 1024");
}

#[test]
fn members_of_json() {
    let line =
        r#"{"level": "error", "ms": 17.5, "user": {"id": 7, "a b": true}, "tags": ["x", "y"], "gone": null}"#;
    for (pattern, fits) in [
        (r#"{ $.level = "error" }"#, true),
        (r"{$.level=error}", true),
        (r#"{ $.level = "e*r" }"#, true),
        (r#"{ $.level = "e*x" }"#, false),
        (r#"{ $.level != "warn" }"#, true),
        (r#"{ $.none != "warn" }"#, false),
        (r"{ $.ms > 17 && $.ms <= 17.5 }", true),
        (r"{ $.ms < 17 || $.user.id = 7 }", true),
        (r"{ ($.ms < 17 || $.user.id = 7) && $.tags[1] = y }", true),
        (r#"{ $.user["a b"] IS TRUE }"#, true),
        (r#"{ $.user["a b"] IS FALSE }"#, false),
        (r"{ $.gone IS NULL }", true),
        (r"{ $.gone NOT EXISTS }", false),
        (r"{ $.none NOT EXISTS }", true),
        (r"{ $.none.deep NOT EXISTS }", true),
        (r"{ $.tags[*] = x }", true),
        (r"{ $.tags[5] = x }", false),
        (r#"{ $.user = "*" }"#, false),
        (r"{ $.user.id = 7.0 }", true),
    ] {
        let (yes, no): (&[&str], &[&str]) = if fits { (&[line], &[]) } else { (&[], &[line]) };
        check(pattern, yes, no);
    }
    check(
        r#"{ $.a = "*" }"#,
        &[r#"{"a": "b"}"#],
        &["no JSON", "", r#"{"a""#],
    );
    for (pattern, words) in [
        ("{", "there must be `$`"),
        ("{ $.a }", "behind a member"),
        ("{ $.a = }", "nothing on its right side"),
        ("{ $.a = 1", "there must be `}`"),
        ("{ $.a = 1 } x", "behind its `}`"),
        ("{ $.a > x }", "numbers only"),
        ("{ $.a[x] = 1 }", "a number"),
        ("{ $.a = %x% }", "regular expressions"),
        (&format!("{{{} }}", "(".repeat(40)), "deep"),
    ] {
        refused(pattern, words);
    }
}

#[test]
fn fields_between_spaces() {
    let line = r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /a HTTP/1.0" 404 1534"#;
    for (pattern, fits) in [
        ("[ip, id, user, time, request, status, size]", true),
        ("[ip, id, user]", false),
        ("[..., status, size]", true),
        ("[ip, ..., size]", true),
        ("[ip, id, user, time, request, status = 4*, size]", true),
        ("[ip, id, user, time, request, status = 5*, size]", false),
        ("[..., status = 404 || status = 500, size > 1000]", true),
        ("[..., status != 404, size]", false),
        ("[..., status, size > 1000 && size < 1500]", false),
        ("[ip, id, user, time, request = \"*HTTP/1.0\", ...]", true),
        ("[ip = 127.0.0.*, ...]", true),
        ("[,,,,,,]", true),
    ] {
        let (yes, no): (&[&str], &[&str]) = if fits { (&[line], &[]) } else { (&[], &[line]) };
        check(pattern, yes, no);
    }
    check("[one]", &["a", "[a b]", "\"open"], &["", "a b"]);
    refused("[a", "there must be `]`");
    refused("[..., a, ...]", "once");
    refused("[a] b", "behind its `]`");
    refused(&format!("[{}]", ",".repeat(100)), "more than 64");
}

proptest! {
    #[test]
    fn no_pattern_and_no_line_is_too_odd(pattern in "[\\[{(\"$.a*=!<>&|?%,\\]}) -]{0,40}", line in "\\PC{0,40}") {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            let _ = pattern.matches(&line);
        }
    }

    #[test]
    fn a_text_in_quotes_fits_the_lines_that_have_it(term in "[a-z\\\\\" ]{1,8}", before in "\\PC{0,8}", behind in "\\PC{0,8}") {
        let quoted = term.replace('\\', "\\\\").replace('"', "\\\"");
        let with = Pattern::parse(&format!("\"{quoted}\"")).expect("a pattern");
        let without = Pattern::parse(&format!("-\"{quoted}\"")).expect("a pattern");
        let line = format!("{before}{term}{behind}");
        prop_assert!(with.matches(&line) && !without.matches(&line));
        prop_assert_ne!(with.matches(&before), without.matches(&before));
    }

    #[test]
    fn numbers_compare_as_numbers(a in -1000_i32..1000, b in -1000_i32..1000) {
        let line = format!("{{\"n\": {a}}}");
        for (operator, fits) in [("=", a == b), ("!=", a != b), ("<", a < b), (">", a > b), ("<=", a <= b), (">=", a >= b)] {
            let json = Pattern::parse(&format!("{{ $.n {operator} {b} }}")).expect("a pattern");
            prop_assert_eq!(json.matches(&line), fits);
            let field = Pattern::parse(&format!("[n {operator} {b}]")).expect("a pattern");
            prop_assert_eq!(field.matches(&a.to_string()), fits);
        }
    }
}
