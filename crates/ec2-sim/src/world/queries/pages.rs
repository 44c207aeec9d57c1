//! Pagination: pages of a sorted list, with a token that survives changes of the list.

use crate::world::{ApiError, Describe};

/// One page of a describe call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The token of the next page; none on the last.
    pub next_token: Option<String>,
}

/// The page sizes an action accepts.
#[derive(Debug, Clone, Copy)]
pub(in crate::world) struct PageLimits {
    pub(in crate::world) least: i64,
    pub(in crate::world) most: i64,
    /// The name of the id list, which excludes a page size.
    pub(in crate::world) ids: &'static str,
}

impl<T> Page<T> {
    /// The page with other items.
    pub(in crate::world) fn map<U>(self, to: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(to).collect(), next_token: self.next_token }
    }
}

/// Cuts the page that the request asks for out of items that come in the order of `key`. Takes
/// no more of them than it needs.
///
/// The token holds the key of the last item given, so an item that comes or
/// goes between two pages neither repeats nor hides another.
pub(in crate::world) fn page<T>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> &str,
    request: &Describe,
    limits: PageLimits,
) -> Result<Page<T>, ApiError> {
    check(request, limits)?;
    let after = request.next_token.as_deref().map(decode).transpose()?;
    let mut rest = items.into_iter().filter(|item| after.as_deref().is_none_or(|after| key(item) > after));
    let Some(size) = request.max_results else {
        return Ok(Page { items: rest.collect(), next_token: None });
    };
    let size = usize::try_from(size.min(limits.most)).unwrap_or(usize::MAX);
    let items: Vec<T> = rest.by_ref().take(size).collect();
    let more = rest.next().is_some();
    let next_token = items.last().filter(|_| more).map(|item| encode(key(item)));
    Ok(Page { items, next_token })
}

fn check(request: &Describe, limits: PageLimits) -> Result<(), ApiError> {
    let Some(size) = request.max_results else {
        return Ok(());
    };
    if !request.ids.is_empty() {
        return Err(ApiError::combination(format!("The parameter {} cannot be used with the parameter maxResults", limits.ids)));
    }
    if size < limits.least {
        return Err(ApiError::invalid_value(format!(
            "Value ( {size} ) for parameter maxResults is invalid. Expecting a value of at least {}.",
            limits.least
        )));
    }
    Ok(())
}

const TOKEN_PREFIX: &str = "page-";

fn encode(key: &str) -> String {
    use std::fmt::Write as _;
    key.bytes().fold(TOKEN_PREFIX.to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into a String never fails");
        text
    })
}

fn decode(token: &str) -> Result<String, ApiError> {
    let invalid = || ApiError::new("InvalidPaginationToken", "The provided token is invalid.");
    let digits = token.strip_prefix(TOKEN_PREFIX).ok_or_else(invalid)?;
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect();
    String::from_utf8(bytes.ok_or_else(invalid)?).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PageLimits = PageLimits { least: 5, most: 7, ids: "volumeIds" };

    fn names() -> Vec<String> {
        (0..23).map(|n| format!("vol-{n:02}")).collect()
    }

    fn ask(max_results: Option<i64>, next_token: Option<String>) -> Describe {
        Describe { max_results, next_token, ..Describe::default() }
    }

    #[test]
    fn pages_put_together_are_the_whole_list() {
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let page = page(names(), |n| n, &ask(Some(5), token), LIMITS).unwrap();
            assert!(page.items.len() <= 5);
            seen.extend(page.items);
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, names());
    }

    #[test]
    fn a_page_size_above_the_limit_is_cut_to_it() {
        let page = page(names(), |n| n, &ask(Some(900), None), LIMITS).unwrap();
        assert_eq!(page.items.len(), 7);
    }

    #[test]
    fn a_foreign_token_is_refused() {
        for token in ["x", "page-zz", "page-0", "page-ff"] {
            let error = page(names(), |n| n, &ask(None, Some(token.to_owned())), LIMITS);
            assert_eq!(error.unwrap_err().code, "InvalidPaginationToken", "{token}");
        }
    }
}
