//! Lets everybody else read first.

use std::io;

/// `IOPRIO_WHO_PROCESS` of ioprio_set(2): with 0, the calling thread.
const WHO_PROCESS: libc::c_int = 1;
/// `IOPRIO_CLASS_IDLE`, shifted by `IOPRIO_CLASS_SHIFT`, as linux/ioprio.h defines them.
const IDLE: libc::c_int = 3 << 13;

/// From now on the reads of this thread are served when nobody else wants the disk, where its scheduler knows classes.
///
/// # Errors
/// The kernel refuses, as in some sandboxes: reads then take their turn.
pub fn read_when_idle() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper; the call takes three numbers and touches no memory of ours")]
    // SAFETY: ioprio_set reads no memory.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_becomes_idle() {
        let class = std::thread::spawn(|| {
            read_when_idle().expect("any thread may be idle");
            #[expect(unsafe_code, reason = "no safe wrapper; the call takes two numbers")]
            // SAFETY: ioprio_get reads no memory.
            let priority = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) };
            priority >> 13
        });
        assert_eq!(class.join().expect("no panic"), 3);
    }
}
