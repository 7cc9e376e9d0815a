//! IAM's patterns: `*` stands for any run of characters, also none and also across `:` and `/`; `?` for one.

/// Whether the whole of `text` is what `pattern` describes. Takes time in the product of their lengths at worst.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last `*` stands, and how much it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&letter) if letter == b'?' || letter == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                read = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

/// As [`matches`], whatever the case of letters: actions are written in any.
pub(crate) fn matches_any_case(pattern: &str, text: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(matches(pattern, text), expected, "`{pattern}` on `{text}`");
    }

    #[test]
    fn stars_and_question_marks() {
        check("*", "", true);
        check("*", "lambda:InvokeFunction", true);
        check("", "", true);
        check("", "a", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("shop-*", "shop-", true);
        check("shop-*", "shop", false);
        check("*a*b", "xxaxxbxb", true);
        check("*a*b", "xxaxxbx", false);
        check("arn:*:function:f", "arn:aws:lambda:eu:1:function:f", true);
        check("arn:*:function:f", "arn:aws:lambda:eu:1:function:f:1", false);
        check("ab", "abc", false);
        assert!(matches_any_case("LAMBDA:invoke*", "lambda:InvokeFunction"));
    }

    /// The obvious way, which takes exponential time.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                slowly(rest, text) || text.split_first().is_some_and(|(_, text)| slowly(pattern, text))
            }
            (Some((b'?', rest)), Some((_, text))) => slowly(rest, text),
            (Some((letter, rest)), Some((read, text))) if letter == read => slowly(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_the_obvious_way_but_fast(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), slowly(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
