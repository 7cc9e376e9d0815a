//! Which name in a source file is its handler, told from the text alone.
//!
//! Text is enough: nothing of the user's runs before it is deployed, and `--handler` says what this cannot see.

/// What a Python handler is called, the likeliest first.
pub(super) const PYTHON: [&str; 3] = ["lambda_handler", "handler", "main"];
/// What a Node handler is exported as.
pub(super) const NODE: [&str; 2] = ["handler", "lambdaHandler"];

/// The name of a top-level function that takes an event and a context, or of a value that might be one.
pub(super) fn python(text: &str) -> Option<&'static str> {
    PYTHON.into_iter().find(|name| is_defined(text, name))
}

/// A name that an ES or CommonJS module exports.
pub(super) fn node(text: &str) -> Option<&'static str> {
    let exports = has_word(text, "exports") || has_word(text, "export");
    NODE.into_iter().find(|name| exports && has_word(text, name))
}

fn is_defined(text: &str, name: &str) -> bool {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        if let Some(rest) = line.strip_prefix(name) {
            let rest = rest.trim_start();
            // `handler = make_handler()`, `handler: Handler = …`; not `handler == x`.
            if (rest.starts_with('=') && !rest.starts_with("==")) || rest.starts_with(':') {
                return true;
            }
        }
        let defined = line.strip_prefix("def ").map(str::trim_start);
        if defined
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.trim_start().starts_with('('))
            && takes_two(&text[start..])
        {
            return true;
        }
    }
    false
}

/// Whether the first parameter list in the text can be called with two arguments.
fn takes_two(text: &str) -> bool {
    let (mut positional, mut required, mut any_number) = (0, 0, false);
    for parameter in parameters(text) {
        match parameter.as_str() {
            "/" => {}
            star if star.starts_with("**") => {}
            star if star.starts_with('*') => {
                any_number = star.len() > 1;
                break;
            }
            named => {
                positional += 1;
                required += u32::from(!named.contains('='));
            }
        }
    }
    required <= 2 && (positional >= 2 || any_number)
}

/// The parameters between the first `(` and its `)`: brackets, strings and comments are stepped over.
fn parameters(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current = String::new();
    let mut depth = 0_u32;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => {
                chars.by_ref().find(|c| *c == '\n');
                continue;
            }
            '\'' | '"' => {
                chars.by_ref().find(|end| *end == c);
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let list_begins = depth == 1 && c == '(' && all.is_empty() && !current.contains('(');
        let list_ends = depth == 0 && c == ')';
        if list_begins {
            current.clear();
        } else if list_ends || (depth == 1 && c == ',') {
            all.push(std::mem::take(&mut current).trim().to_owned());
        } else {
            current.push(c);
        }
        if list_ends {
            break;
        }
    }
    all.retain(|parameter| !parameter.is_empty());
    all
}

fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_handler_is_a_top_level_function_of_two_arguments() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(python(text), expected, "{text}");
        check("def handler(event, context):\n    pass", Some("handler"));
        check(
            "import os\n\ndef lambda_handler( event,context ) : pass",
            Some("lambda_handler"),
        );
        check(
            "def main(e, c, extra=None): pass\ndef handler(e, c): pass",
            Some("handler"),
        );
        check(
            "def handler(\n    event: dict[str, int],  # a, b\n    context=(1, 2),\n): pass",
            Some("handler"),
        );
        check("def handler(*args): pass", Some("handler"));
        check("def handler(event, context, /, *, k=1): pass", Some("handler"));
        check("def handler(event=\"a,b\", context=None): pass", Some("handler"));
        check("handler = make()", Some("handler"));
        check("handler: Handler = make()", Some("handler"));
        check("def handler(event): pass", None);
        check("def handler(): pass", None);
        check("def handler(a, b, c): pass", None);
        check("def handler(event, *, context): pass", None);
        check("def handler2(event, context): pass", None);
        check("    def handler(event, context): pass", None);
        check("async def handler(event, context): pass", None);
        check("# def handler(event, context)", None);
        check("handler == 1", None);
        check("def handler(", None);
        check("", None);
    }

    #[test]
    fn a_node_handler_is_an_exported_name() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(node(text), expected, "{text}");
        check("export const handler = async (event) => event", Some("handler"));
        check("exports.handler = async () => 1", Some("handler"));
        check("module.exports = { lambdaHandler }", Some("lambdaHandler"));
        check("const handler = 1", None);
        check("export const handlers = 1", None);
        check("", None);
    }
}
