//! Which source this is, in a small file beside the index: it outlives an index that is damaged, so that a rebuilt
//! index is the same source in a later epoch.

use super::IndexError;
use crate::model::SourceId;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// The identity of a source and the last epoch that it had.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// 16 bytes, hexadecimal.
    source: String,
    /// The epoch of the index, or the last one.
    pub epoch: u64,
    /// What the caller calls the volume, if it does: another one means that this is a clone.
    pub volume: Option<String>,
}

impl Origin {
    /// A source.
    pub fn new(source: SourceId, epoch: u64, volume: Option<String>) -> Self {
        // The text of a UUID without its dashes.
        Self { source: source.to_string().replace('-', ""), epoch, volume }
    }

    /// Its identity; none when the file held something else.
    pub fn source(&self) -> Option<SourceId> {
        if self.source.len() != 32 || !self.source.is_ascii() {
            return None;
        }
        let mut id = [0; 16];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&self.source[at * 2..at * 2 + 2], 16).ok()?;
        }
        Some(SourceId(id))
    }

    /// Reads the file. None: it is not there, or not one of ours.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, IndexError> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice::<Self>(&bytes).ok().filter(|origin| origin.source().is_some())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(IndexError::Io { path: path.to_owned(), action: "read", error }),
        }
    }

    /// Writes the file; durable when it returns. A crash leaves the old or the new one.
    pub(super) fn write(&self, path: &Path) -> Result<(), IndexError> {
        let failed = |error| IndexError::Io { path: path.to_owned(), action: "write", error };
        let fresh = path.with_extension("new");
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let mut file = File::create(&fresh).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&fresh, path).map_err(failed)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_it_was_written_and_nonsense_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("origin");
        assert_eq!(Origin::read(&path).expect("reads"), None);
        let origin = Origin::new(SourceId([0xa5; 16]), 7, Some("vol-1".to_owned()));
        origin.write(&path).expect("writes");
        assert_eq!(Origin::read(&path).expect("reads"), Some(origin.clone()));
        assert_eq!(origin.source(), Some(SourceId([0xa5; 16])));
        for nonsense in
            ["", "{}", r#"{"source":"xyz","epoch":1,"volume":null}"#, r#"{"source":"ääääääääääääääää","epoch":1,"volume":null}"#]
        {
            fs::write(&path, nonsense).expect("writes");
            assert_eq!(Origin::read(&path).expect("reads"), None, "{nonsense}");
        }
    }
}
