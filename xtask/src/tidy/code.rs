//! Rust text with its words taken out: what is left is code, so that a rule about code finds code only.

/// The same text with comments, strings and characters blanked; line ends stay where they are.
pub(super) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment, string or character that begins here ends; `at` itself when none begins.
fn skip(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |c| c == '\n'),
        '/' if next == Some('*') => end_of_block_comment(chars, at),
        '"' => end_of_string(chars, at + 1),
        '\'' => end_of_character(chars, at),
        'r' | 'b' | 'c' if at == 0 || !is_word(chars[at - 1]) => end_of_prefixed(chars, at),
        _ => at,
    }
}

fn find(chars: &[char], from: usize, is_end: impl Fn(char) -> bool) -> usize {
    chars[from..]
        .iter()
        .position(|c| is_end(*c))
        .map_or(chars.len(), |offset| from + offset)
}

/// They nest.
fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_u32);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// `from` is behind the opening quote.
fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// A quote may also begin a lifetime or a label, which is code.
fn end_of_character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (find(chars, at + 3, |c| c == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// `b"…"`, `r"…"`, `br#"…"#`, `b'…'`; anything else is a word or a raw identifier.
fn end_of_prefixed(chars: &[char], start: usize) -> usize {
    let mut at = start;
    while at < chars.len() && at < start + 2 && matches!(chars[at], 'r' | 'b' | 'c') {
        at += 1;
    }
    let raw = chars[start..at].contains(&'r');
    let quote = find(chars, at, |c| c != '#');
    match chars.get(quote) {
        Some('"') if raw => end_of_raw_string(chars, quote + 1, quote - at),
        Some('"') if quote == at => end_of_string(chars, at + 1),
        Some('\'') if quote == at && chars[start] == 'b' => end_of_character(chars, at).max(start),
        _ => start,
    }
}

fn end_of_raw_string(chars: &[char], from: usize, hashes: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        let closes = chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    at
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands as a whole word, or a path of words, in blanked text; byte offsets.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Line of a byte offset, from 1.
pub(super) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The parts of blanked text that `#[cfg(test)]` puts into tests only; byte ranges.
pub(super) fn test_parts(code: &str) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let Some(open) = code[start..].find(['{', ';']).map(|offset| start + offset) else {
            continue;
        };
        if code[open..].starts_with('{') {
            parts.push(start..end_of_block(code, open));
        }
    }
    parts
}

fn end_of_block(code: &str, open: usize) -> usize {
    let mut depth = 0_u32;
    for (offset, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + offset + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let check = |text: &str, expected: &str| {
            let code = blank(text);
            assert_eq!(
                code.split_whitespace().collect::<Vec<_>>().join(" "),
                expected,
                "{text}"
            );
            assert_eq!(code.matches('\n').count(), text.matches('\n').count());
        };
        check("a // b\nc", "a c");
        check("a /* b /* c */ d\n */ e", "a e");
        check(r#"a("b \" c", d)"#, "a( , d)");
        check(r##"a(r#"b " c"#, br"d\", e)"##, "a( , , e)");
        check(
            "a('b', '\\'', '\\u{1F600}', '\"', b'x', b'\\n', c)",
            "a( , , , , , , c)",
        );
        check(
            "fn f<'a>(x: &'a str) -> &'static str",
            "fn f<'a>(x: &'a str) -> &'static str",
        );
        check("r#type = number + bar", "r#type = number + bar");
        check("\"not closed", "");
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<usize> = words("sleep(sleeper, a_sleep, x::sleep)", "sleep").collect();
        assert_eq!(found, [0, 27]);
    }

    #[test]
    fn test_parts_end_with_their_block() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { } }\nfn c() {}\n#[cfg(test)]\nmod more;\n";
        let parts = test_parts(code);
        assert_eq!(parts.len(), 1);
        assert!(code[parts[0].clone()].contains("fn b") && !code[parts[0].clone()].contains("fn c"));
    }
}
