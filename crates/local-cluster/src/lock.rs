//! The lock that keeps two `up` or `down` of one state folder from working at the same time.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};

use crate::layout::Layout;

/// Held while the state folder is built or torn down. The kernel releases it when the process ends, however it ends.
pub(crate) struct Lock {
    _file: File,
    layout: Layout,
}

impl Lock {
    /// Waits for the lock, blocking the thread; says so first when another process holds it.
    pub(crate) fn acquire(layout: &Layout, report: &dyn Fn(&str)) -> Result<Self> {
        let path = layout.lock();
        loop {
            let file = File::create(&path).with_context(|| format!("cannot open the lock {}", path.display()))?;
            if file.try_lock().is_err() {
                report(&format!("waiting for another local-cluster that works on {}", layout.root.display()));
                file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            // The holder before us may have removed the file: then we hold the lock of a file nobody else will open.
            let named = std::fs::metadata(&path).map(|named| named.ino());
            if named.ok() == Some(file.metadata()?.ino()) {
                return Ok(Self { _file: file, layout: layout.clone() });
            }
        }
    }

    /// The layout of the locked state folder.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Failing to remove the empty file harms nobody; it lies in a folder that a reboot empties.
        let _ = std::fs::remove_file(self.layout.lock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_can_be_taken_again_after_its_release() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        if std::fs::File::create(layout.lock()).is_err() {
            std::io::Write::write_all(
                &mut std::io::stderr(),
                b"SKIPPED: the_lock_can_be_taken_again_after_its_release: the folder of locks is writable for root only\n",
            )
            .unwrap();
            return;
        }
        for _ in 0..2 {
            let lock = Lock::acquire(&layout, &|line| panic!("{line}")).unwrap();
            assert!(File::open(layout.lock()).unwrap().try_lock().is_err());
            drop(lock);
            assert!(!layout.lock().exists());
        }
    }
}
