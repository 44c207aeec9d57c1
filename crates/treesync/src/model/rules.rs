//! What travels from the source to its copies, and what the copies keep for themselves.

use super::TreePath;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::Path;

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{field} pattern {pattern:?} is not a glob: {reason}; example: cache/** or *.tmp")]
pub struct RulesError {
    /// Which list it is in.
    pub field: &'static str,
    /// The pattern as given.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

/// Choices that make [`Rules`]. The default carries everything but what is about the security of one host, and `lost+found`
/// in the root, which belongs to each filesystem.
///
/// A pattern without a slash matches a name at any depth; one with a slash is a path from the root, with or without a
/// leading slash. `*` and `?` do not match a slash, `**` does. What is below a match is matched as well. To keep a
/// directory itself in step and leave only its contents alone, write `cache/**`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RuleOptions {
    /// Never read from the source. On a copy, what matches is left alone.
    pub exclude: Vec<String>,
    /// Belongs to each copy: never written there, changed or removed.
    pub preserve_on_copies: Vec<String>,
    /// Keep setuid and setgid of files; otherwise they are cleared. Setgid of directories always travels.
    pub allow_setuid: bool,
    /// Carry `security.capability`.
    pub allow_capabilities: bool,
    /// Namespaces of extended attributes that travel as well, such as `security.selinux` or `trusted.`: prefixes.
    pub more_xattrs: Vec<String>,
}

/// Checked [`RuleOptions`], ready to decide. Both ends apply them: the source so that nothing else is sent, a copy
/// because what is sent may be hostile.
#[derive(Clone, Debug)]
pub struct Rules {
    options: RuleOptions,
    exclude: GlobSet,
    preserve: GlobSet,
}

impl Default for Rules {
    fn default() -> Self {
        Self { options: RuleOptions::default(), exclude: GlobSet::empty(), preserve: GlobSet::empty() }
    }
}

/// Always travels: attributes of users, and POSIX ACLs.
const XATTRS: [&[u8]; 3] = [b"user.", b"system.posix_acl_access", b"system.posix_acl_default"];
/// File capabilities (capabilities(7)).
const CAPABILITY: &[u8] = b"security.capability";
/// Our own marks on a copy; they never travel.
const OWN_XATTRS: &[u8] = b"trusted.treesync.";
/// `S_ISUID` and `S_ISGID` (inode(7)).
const SET_ID_BITS: u32 = 0o6000;

impl Rules {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// Names the pattern that is not a glob.
    pub fn new(options: RuleOptions) -> Result<Self, RulesError> {
        let exclude = patterns("exclude", &options.exclude)?;
        let preserve = patterns("preserve_on_copies", &options.preserve_on_copies)?;
        Ok(Self { options, exclude, preserve })
    }

    /// Whether the source sends a path. The root always travels.
    pub fn travels(&self, path: &TreePath) -> bool {
        !matches(&self.exclude, path) && !path.is_in_lost_and_found()
    }

    /// Whether a path on a copy is none of our business: it is neither written nor removed.
    pub fn is_kept_on_copy(&self, path: &TreePath) -> bool {
        matches(&self.exclude, path) || matches(&self.preserve, path) || path.is_in_lost_and_found()
    }

    /// Whether there are no patterns, so that at most `lost+found` is kept.
    pub fn keeps_nothing(&self) -> bool {
        self.exclude.is_empty() && self.preserve.is_empty()
    }

    /// Whether an extended attribute is carried.
    pub fn xattr_travels(&self, name: &[u8]) -> bool {
        if name.starts_with(OWN_XATTRS) {
            return false;
        }
        let more = || self.options.more_xattrs.iter().any(|prefix| !prefix.is_empty() && name.starts_with(prefix.as_bytes()));
        let is_capability = name == CAPABILITY && self.options.allow_capabilities;
        is_capability || XATTRS.iter().any(|allowed| name.starts_with(allowed)) || more()
    }

    /// The permission bits that a file or symbolic link may have on a copy.
    pub fn file_mode(&self, mode: u32) -> u32 {
        if self.options.allow_setuid { mode & 0o7777 } else { mode & 0o7777 & !SET_ID_BITS }
    }
}

fn patterns(field: &'static str, patterns: &[String]) -> Result<GlobSet, RulesError> {
    let failed = |pattern: &String| {
        let pattern = pattern.clone();
        move |reason: String| RulesError { field, pattern, reason }
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let bare = pattern.trim_end_matches('/');
        if bare.trim_start_matches('/').is_empty() {
            return Err(failed(pattern)("it is empty".to_owned()));
        }
        let anchored = if bare.contains('/') { bare.trim_start_matches('/').to_owned() } else { format!("**/{bare}") };
        let glob = GlobBuilder::new(&anchored).literal_separator(true).backslash_escape(true).build();
        set.add(glob.map_err(|error| failed(pattern)(error.kind().to_string()))?);
    }
    set.build().map_err(|error| RulesError { field, pattern: patterns.join(", "), reason: error.kind().to_string() })
}

/// Whether the path or a directory above it matches.
fn matches(set: &GlobSet, path: &TreePath) -> bool {
    if set.is_empty() {
        return false;
    }
    let bytes = path.as_bytes();
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([bytes.len()]);
    ends.filter(|end| *end > 0).any(|end| {
        let part: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&bytes[..end]);
        set.is_match(Path::new(part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(exclude: &[&str], preserve: &[&str]) -> Rules {
        let own = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        Rules::new(RuleOptions { exclude: own(exclude), preserve_on_copies: own(preserve), ..RuleOptions::default() }).expect("good globs")
    }

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).expect("a good path")
    }

    #[test]
    fn a_pattern_without_slash_matches_a_name_at_any_depth_and_all_below() {
        let rules = rules(&["*.tmp", "cache"], &[]);
        let stay = ["a.tmp", "a/b.tmp", "cache", "cache/x", "a/cache/y/z", "d.tmp/in"];
        assert!(stay.iter().all(|text| !rules.travels(&path(text))));
        assert!(["a.tmpx", "caches", "a/b"].iter().all(|text| rules.travels(&path(text))));
        assert!(rules.travels(&TreePath::root()));
        assert!(!rules.travels(&path("lost+found/x")) && rules.travels(&path("a/lost+found")));
    }

    #[test]
    fn a_pattern_with_a_slash_starts_at_the_root() {
        let rules = rules(&[], &["/uploads", "var/cache/**", "log/*/old/"]);
        for kept in ["uploads", "uploads/a", "var/cache/a", "var/cache/a/b", "log/x/old", "log/x/old/y"] {
            assert!(rules.is_kept_on_copy(&path(kept)), "{kept}");
            assert!(rules.travels(&path(kept)), "preserving on copies does not stop the source: {kept}");
        }
        for changed in ["a/uploads", "var/cache", "log/x/y/old"] {
            assert!(!rules.is_kept_on_copy(&path(changed)), "{changed}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_matched() {
        let rules = rules(&["*.tmp"], &[]);
        assert!(!rules.travels(&TreePath::parse(b"\xff\xfe.tmp".to_vec()).expect("a good path")));
    }

    #[test]
    fn security_of_one_host_does_not_travel_unless_allowed() {
        let strict = Rules::default();
        let travels = |rules: &Rules, name: &str| rules.xattr_travels(name.as_bytes());
        assert!(travels(&strict, "user.x") && travels(&strict, "system.posix_acl_access"));
        for name in ["security.capability", "security.selinux", "trusted.x", "trusted.treesync.marker", "system.nfs4_acl"] {
            assert!(!travels(&strict, name), "{name}");
        }
        assert_eq!(strict.file_mode(0o106_755), 0o755);
        let more_xattrs = vec!["security.selinux".to_owned(), "trusted.".to_owned()];
        let options = RuleOptions { allow_setuid: true, allow_capabilities: true, more_xattrs, ..RuleOptions::default() };
        let open = Rules::new(options).expect("good rules");
        assert!(["security.capability", "security.selinux", "trusted.x"].iter().all(|name| travels(&open, name)));
        assert!(!travels(&open, "trusted.treesync.marker"));
        assert_eq!(open.file_mode(0o6755), 0o6755);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let options = RuleOptions { exclude: vec!["a[".to_owned()], ..RuleOptions::default() };
        let message = Rules::new(options).expect_err("not a glob").to_string();
        assert!(message.contains("exclude") && message.contains("a["), "{message}");
    }
}
