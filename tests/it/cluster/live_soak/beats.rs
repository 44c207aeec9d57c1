//! A pair of files that the source gets anew all the time, by which readers know how old what they see is, and whether it is
//! of one generation.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// From one beat to the next.
const BEAT: Duration = Duration::from_millis(500);

/// Beats go on until this is dropped.
pub(super) struct Beats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The source, while it is mounted.
    content: Option<OwnedFd>,
    /// When each beat was whole at the source.
    times: Vec<f64>,
    is_over: bool,
}

/// The numbers in both files, in the order in which they were read.
#[derive(Debug)]
pub(super) struct Reading {
    /// The second file, the first, and the second once more.
    pub(super) numbers: [usize; 3],
    /// When, by [`now`].
    pub(super) time: f64,
}

impl Reading {
    /// What a shell prints that has read them.
    pub(super) const SCRIPT: &'static str = "read -r b < /content/beat/second; read -r a < /content/beat/first; read -r c < \
        /content/beat/second; read -r time rest < /proc/uptime; echo $b $a $c $time";

    pub(super) fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [before, first, after, time] = words[..] else { anyhow::bail!("{line:?} is no reading") };
        Ok(Self { numbers: [before.parse()?, first.parse()?, after.parse()?], time: time.parse()? })
    }

    /// The first file is written before the second, so that at any time it has the same number or the next. A reader that sees
    /// another pair sees two generations.
    fn is_of_one_generation(&self) -> bool {
        let [before, first, after] = self.numbers;
        before <= first && first <= after + 1
    }
}

/// Seconds since the boot, by the clock that pods read in `/proc/uptime`.
fn now() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    Ok(text.split_whitespace().next().context("the time since the boot")?.parse()?)
}

impl Beats {
    pub(super) fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let own = state.clone();
        std::thread::spawn(move || {
            while beat(&mut lock(&own)) {
                std::thread::sleep(BEAT);
            }
        });
        Self(state)
    }

    /// Nothing of the source is open when this returns.
    pub(super) fn pause(&self) {
        lock(&self.0).content = None;
    }

    pub(super) fn go_on(&self, content: &Path) -> Result<()> {
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let opened = rustix::fs::open(content, flags, rustix::fs::Mode::empty())?;
        std::fs::create_dir_all(content.join("beat"))?;
        lock(&self.0).content = Some(opened);
        Ok(())
    }

    /// How many seconds before it was read the content was the newest: 0 if it was so then. An error if it is of two
    /// generations.
    pub(super) fn age(&self, reading: &Reading) -> Result<f64> {
        ensure!(reading.is_of_one_generation(), "{:?} are of two generations", reading.numbers);
        let oldest = reading.numbers.into_iter().min().context("three numbers")?;
        let newer = lock(&self.0).times.get(oldest + 1).copied();
        Ok(newer.map_or(0.0, |since| (reading.time - since).max(0.0)))
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        (state.content, state.is_over) = (None, true);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes both files, the first one first. False at the end.
fn beat(state: &mut State) -> bool {
    let Some(content) = &state.content else { return !state.is_over };
    let folder = PathBuf::from(format!("/proc/self/fd/{}/beat", content.as_raw_fd()));
    let number = state.times.len().to_string();
    let replace = |name: &str| -> std::io::Result<()> {
        std::fs::write(folder.join("next"), format!("{number}\n"))?;
        std::fs::rename(folder.join("next"), folder.join(name))
    };
    match replace("first").and_then(|()| replace("second")).map_err(anyhow::Error::from).and_then(|()| now()) {
        Ok(time) => state.times.push(time),
        Err(error) => println!("a beat could not be written: {error:#}"),
    }
    !state.is_over
}

#[test]
fn a_pair_is_of_one_generation_as_long_as_the_source_can_have_been_so() {
    let of = |numbers| Reading { numbers, time: 9.0 }.is_of_one_generation();
    assert!(of([3, 3, 3]) && of([3, 4, 3]), "the source itself is between its two files at times");
    assert!(of([3, 5, 5]), "a beat came between the readings");
    assert!(!of([3, 9, 3]), "the first file is of a later generation");
    assert!(!of([9, 3, 9]), "the second file is");
}

#[test]
fn content_ages_from_the_moment_at_which_the_source_had_newer() {
    let beats = Beats(Arc::new(Mutex::new(State { times: vec![1.0, 2.0, 4.0], ..State::default() })));
    let age = |number, time| beats.age(&Reading { numbers: [number; 3], time }).expect("one generation");
    assert!((age(2, 90.0) - 0.0).abs() < 1e-9, "nothing newer was written");
    assert!((age(1, 4.5) - 0.5).abs() < 1e-9 && (age(0, 4.5) - 2.5).abs() < 1e-9);
}
