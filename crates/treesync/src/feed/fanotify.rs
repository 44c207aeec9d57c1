//! The feed of one source: a thread that does nothing but take events from the kernel, and what they mean.

use super::coalesce::{Coalescer, Dirty, Due, Windows, Writer};
use super::identity::{identity_of, open_identity};
use super::kernel::{fanotify_init, fanotify_mark_filesystem};
use super::parse::{Event, parse};
use crate::index::{At, Identity};
use crate::model::{RESERVED_NAME, TreePath};
use crate::tree::{Root, Stat, TreeError};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Read at once: some thousand events.
const BUFFER_BYTES: usize = 256 * 1024;

/// What is asked of the kernel. MOVED_FROM and MOVED_TO are in RENAME. Never OPEN or ACCESS: our own reading would feed the feed.
const MASK: u64 =
    libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_RENAME | libc::FAN_CLOSE_WRITE | libc::FAN_MODIFY | libc::FAN_ATTRIB | libc::FAN_ONDIR;
/// Changes of which names a directory has, and so of its own mtime.
const NAMES_CHANGED: u64 = libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_RENAME;

/// How the feed is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeedOptions {
    /// How long events are gathered.
    pub windows: Windows,
    /// Leave the kernel's queue bounded (`fs.fanotify.max_queued_events`), so that it can overflow. Unbounded, the events
    /// that wait are charged to our memory, and the thread that takes them is quick.
    pub has_bounded_queue: bool,
    /// Say nothing of what this process does itself, as on a copy that it keeps.
    pub leaves_out_own: bool,
}

/// Why the kernel does not tell of changes here. Then the source is compared from time to time.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// For people: the call, the error and what would help.
    pub reason: String,
}

struct State {
    coalescer: Coalescer,
    /// Requests to take all events that the kernel has by now, and how many of them are met.
    asked: u64,
    met: u64,
    is_stopping: bool,
    events: u64,
}

struct Shared {
    state: Mutex<State>,
    /// A request was met.
    drained: Condvar,
    started: Instant,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running feed. Dropping it ends its thread.
pub struct Feed {
    shared: Arc<Shared>,
    doorbell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    /// For opening directories by their handles.
    root: OwnedFd,
    root_path: Vec<u8>,
}

impl Feed {
    /// Asks the kernel for the changes of the filesystem that a root is on. From when it returns, none is missed.
    /// `wake` is called on the feed's thread when something will be due, and nothing was before, or only later.
    ///
    /// # Errors
    /// The kernel refuses: capabilities, or the kind of filesystem.
    pub fn start(root: &Root, options: FeedOptions, wake: Box<dyn Fn() + Send>) -> Result<Self, Refused> {
        let refused = |call: &str, error: &io::Error| Refused { reason: explain(call, error, root) };
        let bounded = if options.has_bounded_queue { 0 } else { libc::FAN_UNLIMITED_QUEUE };
        let reports = libc::FAN_REPORT_DFID_NAME | libc::FAN_REPORT_FID | libc::FAN_REPORT_TARGET_FID;
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | reports | bounded;
        let group = fanotify_init(flags).map_err(|error| refused("fanotify_init", &error))?;
        fanotify_mark_filesystem(&group, MASK, root).map_err(|error| refused("fanotify_mark", &error))?;
        let own = root.as_fd().try_clone_to_owned().map_err(|error| refused("dup", &error))?;
        let root_path = path_of_descriptor(&own).map_err(|error| refused("readlink", &error))?;
        check_handles(root).map_err(|error| refused("open_by_handle_at", &error))?;
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| refused("eventfd", &error.into()))?;
        let doorbell = Arc::new(doorbell);
        let state = State { coalescer: Coalescer::new(options.windows), asked: 0, met: 0, is_stopping: false, events: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), drained: Condvar::new(), started: Instant::now() });
        let own_process = options.leaves_out_own.then(|| std::process::id().cast_signed());
        let (doorbell_of_drain, reserved) = (doorbell.clone(), reserved_identity(root));
        let drain = Drain { group: File::from(group), doorbell: doorbell_of_drain, shared: shared.clone(), wake, reserved, own_process };
        let thread = std::thread::Builder::new().name("treesync-feed".to_owned()).spawn(move || drain.run());
        let thread = thread.map_err(|error| refused("clone", &error))?;
        Ok(Self { shared, doorbell, thread: Some(thread), root: own, root_path })
    }

    /// Time as the feed counts it.
    pub fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// When something is due, in the feed's time.
    pub fn due_at(&self) -> Option<Duration> {
        self.shared.state().coalescer.due_at()
    }

    /// When something can be read ahead, in the feed's time.
    pub fn ahead_at(&self) -> Option<Duration> {
        self.shared.state().coalescer.ahead_at()
    }

    /// Takes names of files that were closed lately. They are due all the same when it is calm. `is_wanted` says whether to
    /// keep such names from now on.
    pub fn take_ahead(&self, is_wanted: bool) -> Vec<At> {
        let now = self.now();
        let mut state = self.shared.state();
        state.coalescer.want_ahead(is_wanted);
        state.coalescer.take_ahead(now)
    }

    /// Takes what is due now.
    pub fn take(&self) -> Due {
        self.shared.state().coalescer.take(self.now())
    }

    /// Takes all that happened before this call, due or not.
    pub fn take_all(&self) -> Due {
        self.drained().coalescer.take_all()
    }

    /// The same without files that are still written to: those wait as long as they do.
    pub fn take_done(&self) -> Due {
        self.drained().coalescer.take_done()
    }

    /// The state with all events that the kernel has by now.
    fn drained(&self) -> MutexGuard<'_, State> {
        let mut state = self.shared.state();
        state.asked += 1;
        let request = state.asked;
        self.ring();
        while state.met < request && !state.is_stopping {
            state = self.shared.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Notes something that is to be looked at again.
    pub fn add(&self, dirty: Dirty, writer: Writer) {
        let now = self.now();
        self.shared.state().coalescer.add(dirty, writer, now);
    }

    /// Events taken from the kernel so far.
    pub fn event_count(&self) -> u64 {
        self.shared.state().events
    }

    /// Where a directory is now, below the root. None: it is gone, outside, or cannot be opened.
    pub fn path_of(&self, identity: &Identity) -> Option<TreePath> {
        let directory = open_identity(&self.root, identity).ok()??;
        let path = path_of_descriptor(&directory).ok()?;
        let below = path.strip_prefix(self.root_path.as_slice())?;
        let below = match below {
            [] => below,
            [b'/', below @ ..] => below,
            _ if self.root_path == b"/" => below,
            _ => return None,
        };
        TreePath::parse(below).ok()
    }

    /// The inode number of a handle that may be a file. None: it is gone.
    pub fn inode_of(&self, identity: &Identity) -> Option<u64> {
        let opened = open_identity(&self.root, identity).ok()??;
        Some(Stat::at(&opened, b"").ok()?.identity.inode)
    }

    fn ring(&self) {
        // It can only fail when the counter is full, and then it has been rung.
        let _ = rustix::io::write(&self.doorbell, &1_u64.to_ne_bytes());
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.state().is_stopping = true;
        self.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Without CAP_DAC_READ_SEARCH events arrive, but say nothing.
fn check_handles(root: &Root) -> io::Result<()> {
    let stat = Stat::at(root, b"").map_err(io::Error::from)?;
    let identity = identity_of(root, &stat)?;
    match open_identity(root, &identity)? {
        Some(_) => Ok(()),
        None => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
    }
}

/// Our own directory, so that our own writing is not news. It is made before the feed starts.
fn reserved_identity(root: &Root) -> Option<Identity> {
    let path = std::str::from_utf8(RESERVED_NAME).ok()?;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::openat(root, path, flags, rustix::fs::Mode::empty()).ok()?;
    let stat = Stat::at(&directory, b"").ok()?;
    identity_of(&directory, &stat).ok()
}

fn path_of_descriptor(descriptor: &OwnedFd) -> io::Result<Vec<u8>> {
    Ok(std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))?.into_os_string().into_vec())
}

fn explain(call: &str, error: &io::Error, root: &Root) -> String {
    let filesystem = root.filesystem();
    let help = match error.raw_os_error() {
        Some(libc::EPERM) => "it needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH in the initial user namespace",
        Some(libc::EOPNOTSUPP | libc::ENODEV | libc::EXDEV) => "this filesystem, or this part of it, cannot be marked",
        Some(libc::EINVAL | libc::ENOSYS) => "it needs Linux 5.17 or later",
        _ => "see fanotify(7)",
    };
    format!("{call} on {} ({filesystem}): {error}; {help}", root.path().display())
}

/// The thread that takes events. It does no I/O but reading the group, so that the kernel's queue stays short.
struct Drain {
    group: File,
    doorbell: Arc<OwnedFd>,
    shared: Arc<Shared>,
    wake: Box<dyn Fn() + Send>,
    reserved: Option<Identity>,
    /// Whose events are left out.
    own_process: Option<i32>,
}

impl Drain {
    fn run(self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let mut ready = [PollFd::new(&self.group, PollFlags::IN), PollFd::new(&*self.doorbell, PollFlags::IN)];
            if let Err(error) = poll(&mut ready, None)
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(%error, "the feed of changes cannot wait for events; everything is compared");
                self.lose(true);
                return;
            }
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.doorbell, &mut count);
            // A request that comes from here on is met by the next round.
            let asked = self.shared.state().asked;
            if !self.drain(&mut buffer) {
                return;
            }
            let mut state = self.shared.state();
            state.met = asked;
            self.shared.drained.notify_all();
            if state.is_stopping {
                return;
            }
        }
    }

    /// Takes all that the kernel has; false when it cannot.
    fn drain(&self, buffer: &mut [u8]) -> bool {
        loop {
            match (&self.group).read(buffer) {
                Ok(0) => return true,
                Ok(length) => self.take(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(%error, "the feed of changes cannot read events; everything is compared");
                    self.lose(true);
                    return false;
                }
            }
        }
    }

    fn take(&self, bytes: &[u8]) {
        let events = match parse(bytes) {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(%error, "events of the feed were lost; everything is compared");
                self.lose(false);
                return;
            }
        };
        let now = self.shared.started.elapsed();
        let mut state = self.shared.state();
        let next = |coalescer: &mut Coalescer| coalescer.due_at().into_iter().chain(coalescer.ahead_at()).min();
        let due_before = next(&mut state.coalescer);
        state.events += events.len() as u64;
        for event in events {
            if event.mask & libc::FAN_Q_OVERFLOW != 0 {
                state.coalescer.add_everything();
            }
            if self.own_process == Some(event.process) {
                continue;
            }
            for (dirty, writer) in meaning(event, self.reserved.as_ref()) {
                state.coalescer.add(dirty, writer, now);
            }
        }
        // Whoever was woken before looks again when something is due then: later news only puts that off.
        let is_sooner = next(&mut state.coalescer).is_some_and(|due_at| due_before.is_none_or(|before| due_at < before));
        drop(state);
        if is_sooner {
            (self.wake)();
        }
    }

    fn lose(&self, is_end: bool) {
        let mut state = self.shared.state();
        state.coalescer.add_everything();
        state.is_stopping |= is_end;
        self.shared.drained.notify_all();
        drop(state);
        (self.wake)();
    }
}

/// What may have changed, by what an event says.
fn meaning(event: Event, reserved: Option<&Identity>) -> Vec<(Dirty, Writer)> {
    let is_writing = event.mask & (MASK | libc::FAN_CLOSE_WRITE) & !libc::FAN_ONDIR == libc::FAN_MODIFY;
    let writer = match event.mask {
        _ if is_writing => Writer::Busy,
        mask if mask & libc::FAN_CLOSE_WRITE != 0 => Writer::Closed,
        _ => Writer::Done,
    };
    let mut dirty = Vec::new();
    let has_names = !event.names.is_empty();
    for (directory, name) in event.names {
        if Some(&directory) == reserved {
            continue;
        }
        if name == b"." {
            dirty.push((Dirty::Directory(directory), Writer::Done));
            continue;
        }
        if event.mask & NAMES_CHANGED != 0 {
            dirty.push((Dirty::Directory(directory.clone()), Writer::Done));
        }
        dirty.push((Dirty::Name(At { parent: Some(directory), name }), writer));
    }
    if let Some(target) = event.target.filter(|_| !has_names) {
        // The number of its names changed, or it was written to through a handle.
        dirty.push((Dirty::Handle(target), writer));
    }
    dirty
}

impl From<TreeError> for Refused {
    fn from(error: TreeError) -> Self {
        Self { reason: error.to_string() }
    }
}
