//! The house rules of CONTRIBUTING.md that a program can check. Uses nothing of ours: it reads the repository as text.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines that a source file may have at most.
const LONGEST_FILE: usize = 500;

/// A source file, its path relative to the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines that are code, with their numbers: comments may name anything.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder; what is built or hidden is left out.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(files_below(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// Every source file of every package.
fn sources() -> Vec<Source> {
    let files = files_below(root()).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let sources: Vec<Source> = files.map(|path| Source { path: relative(&path), text: fs::read_to_string(&path).unwrap() }).collect();
    assert!(sources.len() > 50, "only {} sources were found", sources.len());
    sources
}

fn sources_in(folders: &[&str]) -> Vec<Source> {
    let all = sources();
    for folder in folders {
        assert!(all.iter().any(|source| source.path.starts_with(folder)), "{folder} has no sources: the rule is out of date");
    }
    all.into_iter().filter(|source| folders.iter().any(|folder| source.path.starts_with(folder))).collect()
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Markdown of the project; the two that every reader starts with must be there.
fn documents() -> Vec<Source> {
    let read = |path: String| fs::read_to_string(root().join(&path)).ok().map(|text| Source { path, text });
    let mut documents: Vec<Source> =
        ["README.md", "ARCHITECTURE.md"].map(|path| Source { path: path.to_owned(), text: text_of(path) }).into();
    documents.extend(read("CONTRIBUTING.md".to_owned()));
    let below_docs =
        files_below(&root().join("docs")).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.extend(below_docs.filter_map(|path| read(relative(&path))));
    documents
}

/// Fails with all findings at once, so that one run shows everything that is to be mended.
#[track_caller]
fn assert_none(rule: &str, findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

/// Code lines of the folders that contain any of the needles.
fn mentions(folders: &[&str], except: &[&str], needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources_in(folders) {
        if except.iter().any(|path| source.path.starts_with(path)) {
            continue;
        }
        for (number, line) in source.code() {
            found.extend(
                needles.iter().filter(|needle| line.contains(*needle)).map(|needle| format!("{}:{number} names {needle}", source.path)),
            );
        }
    }
    found
}

#[test]
fn every_source_file_says_its_job() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    assert_none("a file opens with //! and its job in a line", silent.map(|source| source.path));
}

#[test]
fn no_source_file_is_too_long() {
    let lengths = sources().into_iter().map(|source| (source.text.lines().count(), source.path));
    let long = lengths.filter(|(lines, _)| *lines > LONGEST_FILE);
    assert_none("a file has at most 500 lines", long.map(|(lines, path)| format!("{path} has {lines}")));
}

#[test]
fn nothing_is_left_undone() {
    let needles = [["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["unimple", "mented!("]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in (1..).zip(source.text.lines()) {
            found.extend(needles.iter().filter(|needle| line.contains(*needle)).map(|needle| format!("{}:{number} {needle}", source.path)));
        }
    }
    assert_none("what is in the repository is finished", found);
}

#[test]
fn names_of_modules_say_something() {
    let banned = ["util", "utils", "helper", "helpers", "common", "manager", "misc", "data", "info"];
    let mut found = Vec::new();
    for source in sources() {
        let parts = Path::new(&source.path).with_extension("");
        let named = parts.iter().filter(|part| banned.contains(&part.to_string_lossy().as_ref()));
        found.extend(named.map(|part| format!("{}: {}", source.path, part.to_string_lossy())));
        let declared = source.code().filter_map(|(_, line)| line.trim().strip_suffix('{').or(line.trim().strip_suffix(';')));
        let modules = declared.filter_map(|line| line.trim().rsplit_once("mod ").map(|(_, name)| name));
        found.extend(modules.filter(|name| banned.contains(name)).map(|name| format!("{}: mod {name}", source.path)));
    }
    assert_none("a module is named after what it is about", found);
}

/// Modules of the library other than those that are allowed, as `crate::` paths.
fn other_modules(allowed: &[&str]) -> Vec<String> {
    let library = text_of("src/lib.rs");
    let modules = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut others: Vec<String> = modules.filter(|name| !allowed.contains(name)).map(|name| format!("crate::{name}")).collect();
    assert!(others.len() >= 8, "src/lib.rs declares its modules one a line: {others:?}");
    // A list of modules in one import would hide them from this test.
    others.push("crate::{".to_owned());
    others
}

#[track_caller]
fn assert_imports(folder: &str, allowed: &[&str]) {
    let others = other_modules(allowed);
    let needles: Vec<&str> = others.iter().map(String::as_str).collect();
    assert_none(&format!("{folder} uses only {allowed:?} of ours"), mentions(&[folder], &[], &needles));
}

#[test]
fn the_domain_uses_nothing_of_ours() {
    assert_imports("src/domain", &["domain"]);
    let outside = ["kube::", "k8s_openapi", "aws_", "tokio"];
    assert_none("the domain is values", mentions(&["src/domain"], &[], &outside));
}

#[test]
fn the_plan_is_pure() {
    assert_imports("src/plan", &["domain", "plan"]);
    let outside =
        ["kube::", "k8s_openapi", "aws_", "tokio", "async ", "Timestamp::now", "std::fs", "std::net", "SystemTime", "Instant::now"];
    assert_none("a plan has no clock and no I/O", mentions(&["src/plan"], &[], &outside));
}

#[test]
fn the_ec2_port_knows_no_kubernetes() {
    assert_imports("src/ec2", &["domain", "ec2"]);
    assert_none("src/ec2 is EC2 alone", mentions(&["src/ec2"], &[], &["kube::", "k8s_openapi"]));
}

#[test]
fn the_agent_decides_nothing_for_the_controller() {
    assert_none("the agent is told", mentions(&["src/agent"], &[], &["crate::plan", "crate::controller", "crate::{"]));
}

#[test]
fn each_large_dependency_has_one_user() {
    assert_none("only src/ec2/aws names the SDK", mentions(&["src/"], &["src/ec2/aws"], &["aws_sdk_ec2", "aws_config"]));
    assert_none("only src/yaml.rs names serde_yaml", mentions(&["src/", "tests/it"], &["src/yaml.rs"], &["serde_yaml"]));
}

#[test]
fn ports_are_opened_in_two_places() {
    let known = ["src/admin.rs", "crates/treesync/src/wire/server.rs"];
    let needles = ["TcpListener::bind", "TcpSocket", "UdpSocket", "TcpListener::from_std"];
    assert_none("each port has a row in docs/operations.md and a test", mentions(&["src/", "crates/treesync/src"], &known, &needles));
}

#[test]
fn the_simulator_shares_no_code_with_what_it_judges() {
    assert_none("the simulator is a stranger", mentions(&["crates/ec2-sim"], &[], &["volume_dispatcher", "kube::"]));
    let manifest = text_of("crates/ec2-sim/Cargo.toml");
    assert!(!manifest.contains("volume-dispatcher") && !manifest.contains("kube"), "{manifest}");
}

#[test]
fn every_make_target_of_the_documents_exists() {
    let makefile = text_of("Makefile");
    let targets: BTreeSet<&str> = makefile.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    let mut seen = 0;
    let mut dead = Vec::new();
    for document in documents() {
        for name in make_targets(&document.text) {
            seen += 1;
            if !targets.contains(name.as_str()) {
                dead.push(format!("{}: make {name}", document.path));
            }
        }
    }
    assert!(seen > 0, "README.md shows how to run the project");
    assert_none("a command of a document works", dead);
}

/// The first target of each `make` in a code span, in a block of commands, or at the start of a line.
fn make_targets(text: &str) -> Vec<String> {
    let starts = text.lines().flat_map(|line| {
        let spans = line.split('`').skip(1).step_by(2);
        spans.chain(Some(line.trim_start().trim_start_matches("$ ")))
    });
    let target = |command: &str| {
        let words = command.strip_prefix("make ")?.split_whitespace();
        let first = words.into_iter().find(|word| !word.contains('=') && !word.starts_with('-'))?;
        let name = first.trim_end_matches(|end: char| !end.is_ascii_alphanumeric());
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-').then(|| name.to_owned())
    };
    starts.filter_map(target).filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let folder = root().join(&document.path).parent().unwrap().to_owned();
        for link in links(&document.text) {
            let is_elsewhere = link.contains("://") || link.starts_with("mailto:") || link.starts_with('#');
            let path = link.split('#').next().unwrap();
            if !is_elsewhere && !folder.join(path).exists() {
                dead.push(format!("{}: {link}", document.path));
            }
        }
    }
    assert_none("a link leads somewhere", dead);
}

/// The targets of `[text](target)`, those in blocks of code left out.
fn links(text: &str) -> Vec<String> {
    let outside = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    let targets = outside.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next());
    targets.filter(|target| !target.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_test_that_an_invariant_names_exists() {
    let Ok(invariants) = fs::read_to_string(root().join("docs/invariants.md")) else { return };
    let code: String = sources().into_iter().map(|source| source.text).collect();
    let is_test_name = |name: &&str| {
        let is_snake = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        is_snake && name.matches('_').count() >= 3
    };
    let named: BTreeSet<&str> = invariants.split('`').skip(1).step_by(2).filter(is_test_name).collect();
    assert!(!named.is_empty(), "docs/invariants.md names the tests of each invariant");
    let missing = named.iter().filter(|name| !code.contains(&format!("fn {name}(")));
    assert_none("an invariant names tests that exist", missing.map(|name| (*name).to_owned()));
}
