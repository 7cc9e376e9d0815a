//! Pages of a list that is in the order of its items' names. The token of the next page is the last name, in base64:
//! what was made or removed meanwhile neither repeats nor hides the others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The token behind the item with this name.
pub(crate) fn token(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// The name that a token was made of.
pub(crate) fn name(token: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}

/// The items behind `after`, at most `limit`, and the token of the page behind them.
pub(crate) fn cut<T>(
    items: Vec<T>,
    name: impl Fn(&T) -> &str,
    after: Option<&str>,
    limit: usize,
) -> (Vec<T>, Option<String>) {
    let behind = |item: &T| after.is_none_or(|after| name(item) > after);
    let mut page: Vec<T> = items.into_iter().filter(behind).collect();
    let has_more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| has_more).map(|last| token(name(last)));
    (page, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let all = vec!["a", "b", "c", "d", "e"];
            let (page, next) = cut(all, |item| item, after.as_deref(), 2);
            assert!(page.len() <= 2);
            seen.extend(page);
            match next {
                Some(next) => after = name(&next),
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
        assert_eq!(name("not a token!"), None);
    }
}
