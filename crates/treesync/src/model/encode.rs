//! Between values and their protobuf form, in both directions. Decoding checks everything: the bytes may be hostile.

use super::{Batch, ChangedBlock, ContentHash, Delta, Entry, Kind, Mtime, PathError, Position, Put, SourceId, Structural, TreePath, Xattr};
use bytes::Bytes;

/// The generated messages.
#[expect(missing_docs, clippy::pedantic, reason = "generated; proto/treesync.proto documents them")]
pub mod proto {
    tonic::include_proto!("treesync.v1");
}

/// Why a message is refused. Nothing of it has been used.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf, or cut off.
    #[error("the message cannot be read: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A path that leads outside, or is malformed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A field has a value that no correct peer sends.
    #[error("{field} of {object} is {problem}")]
    Field {
        /// The field, as in the protocol file.
        field: &'static str,
        /// The path, or the message.
        object: String,
        /// What is wrong.
        problem: &'static str,
    },
}

pub(super) fn field(field: &'static str, object: &(impl ToString + ?Sized), problem: &'static str) -> DecodeError {
    DecodeError::Field { field, object: object.to_string(), problem }
}

fn hash(bytes: &[u8], name: &'static str, path: &TreePath) -> Result<ContentHash, DecodeError> {
    bytes.try_into().map(ContentHash).map_err(|_| field(name, path, "not 32 bytes"))
}

fn source(bytes: &[u8], object: &str) -> Result<SourceId, DecodeError> {
    bytes.try_into().map(SourceId).map_err(|_| field("source", object, "not 16 bytes"))
}

fn path(bytes: &Bytes) -> Result<TreePath, DecodeError> {
    Ok(TreePath::parse(bytes.to_vec())?)
}

fn mtime(seconds: i64, nanoseconds: u32, path: &TreePath) -> Result<Mtime, DecodeError> {
    if nanoseconds > 999_999_999 {
        return Err(field("mtime_ns", path, "above 999,999,999"));
    }
    Ok(Mtime { seconds, nanoseconds })
}

impl From<&Position> for proto::Position {
    fn from(position: &Position) -> Self {
        Self { source: Bytes::copy_from_slice(&position.source.0), epoch: position.epoch, generation: position.generation }
    }
}

impl TryFrom<proto::Position> for Position {
    type Error = DecodeError;

    fn try_from(position: proto::Position) -> Result<Self, DecodeError> {
        let source = source(&position.source, "position")?;
        Ok(Self { source, epoch: position.epoch, generation: position.generation })
    }
}

impl From<&Entry> for proto::Entry {
    fn from(entry: &Entry) -> Self {
        let kind = match entry.kind {
            Kind::File { .. } => proto::Kind::File,
            Kind::Directory => proto::Kind::Directory,
            Kind::Symlink => proto::Kind::Symlink,
        };
        let xattr = |xattr: &Xattr| proto::Xattr { name: xattr.name.clone().into(), value: xattr.value.clone().into() };
        Self {
            kind: kind.into(),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime_s: entry.mtime.seconds,
            mtime_ns: entry.mtime.nanoseconds,
            size_bytes: entry.file().map_or(0, |(size, _)| size),
            content: entry.file().map_or_else(Bytes::new, |(_, content)| Bytes::copy_from_slice(&content.0)),
            link_target: entry.link_target.clone().into(),
            xattrs: entry.xattrs.iter().map(xattr).collect(),
            link_group: entry.link_group,
        }
    }
}

impl Entry {
    /// Checks a message; `path` is named in errors.
    pub fn decode(message: proto::Entry, path: &TreePath) -> Result<Self, DecodeError> {
        let kind = match message.kind() {
            proto::Kind::File => Kind::File { size_bytes: message.size_bytes, content: hash(&message.content, "content", path)? },
            proto::Kind::Directory => Kind::Directory,
            proto::Kind::Symlink => Kind::Symlink,
            proto::Kind::Unspecified => return Err(field("kind", path, "not one that this version knows")),
        };
        if (kind == Kind::Symlink) == message.link_target.is_empty() || message.link_target.contains(&0) {
            return Err(field("link_target", path, "missing, not expected, or has a NUL"));
        }
        if message.mode > 0o7777 {
            return Err(field("mode", path, "more than permission bits"));
        }
        let xattrs: Vec<Xattr> =
            message.xattrs.into_iter().map(|xattr| Xattr { name: xattr.name.to_vec(), value: xattr.value.to_vec() }).collect();
        if !xattrs.is_sorted_by(|one, next| one.name < next.name) || xattrs.iter().any(|x| x.name.is_empty() || x.name.contains(&0)) {
            return Err(field("xattrs", path, "not sorted, double, or badly named"));
        }
        Ok(Self {
            kind,
            mode: message.mode,
            uid: message.uid,
            gid: message.gid,
            mtime: mtime(message.mtime_s, message.mtime_ns, path)?,
            link_target: message.link_target.to_vec(),
            xattrs,
            link_group: message.link_group,
        })
    }
}

impl From<&Delta> for proto::Delta {
    fn from(delta: &Delta) -> Self {
        let block = |block: &ChangedBlock| proto::ChangedBlock {
            offset_bytes: block.offset_bytes,
            length_bytes: block.length_bytes,
            content: Bytes::copy_from_slice(&block.content.0),
        };
        Self {
            base_size_bytes: delta.base_size_bytes,
            base_mtime_s: delta.base_mtime.seconds,
            base_mtime_ns: delta.base_mtime.nanoseconds,
            base_content_generation: delta.base_content_generation,
            blocks: delta.blocks.iter().map(block).collect(),
        }
    }
}

fn delta(message: proto::Delta, path: &TreePath, size_bytes: u64) -> Result<Delta, DecodeError> {
    let mut blocks = Vec::with_capacity(message.blocks.len());
    let mut free_from = 0;
    for block in message.blocks {
        let end = block.offset_bytes.checked_add(block.length_bytes.into());
        let Some(end) = end.filter(|end| *end <= size_bytes && block.offset_bytes >= free_from && block.length_bytes > 0) else {
            return Err(field("blocks", path, "not sorted, overlapping, or beyond the end"));
        };
        free_from = end;
        let content = hash(&block.content, "blocks.content", path)?;
        blocks.push(ChangedBlock { offset_bytes: block.offset_bytes, length_bytes: block.length_bytes, content });
    }
    Ok(Delta {
        base_size_bytes: message.base_size_bytes,
        base_mtime: mtime(message.base_mtime_s, message.base_mtime_ns, path)?,
        base_content_generation: message.base_content_generation,
        blocks,
    })
}

impl From<&Put> for proto::Put {
    fn from(put: &Put) -> Self {
        Self {
            path: Bytes::copy_from_slice(put.path.as_bytes()),
            entry: Some((&put.entry).into()),
            content_generation: put.content_generation,
            inline: put.inline.clone(),
            held_at: put.held_at.as_ref().map(|path| Bytes::copy_from_slice(path.as_bytes())),
            delta: put.delta.as_ref().map(Into::into),
            data_bytes: put.data_bytes,
        }
    }
}

impl TryFrom<proto::Put> for Put {
    type Error = DecodeError;

    fn try_from(put: proto::Put) -> Result<Self, DecodeError> {
        let path = path(&put.path)?;
        let entry = Entry::decode(put.entry.ok_or_else(|| field("entry", &path, "missing"))?, &path)?;
        let size_bytes = entry.file().map(|(size, _)| size);
        if path.is_root() && !entry.is_directory() {
            return Err(field("kind", &path, "not a directory"));
        }
        if put.inline.as_ref().is_some_and(|bytes| Some(bytes.len() as u64) != size_bytes) {
            return Err(field("inline", &path, "not as long as the entry says"));
        }
        let data_bytes = put.data_bytes.map(|bytes| bytes.min(size_bytes.unwrap_or(0)));
        let held_at = put.held_at.as_ref().map(self::path).transpose()?;
        let delta = put.delta.map(|message| delta(message, &path, size_bytes.unwrap_or(0))).transpose()?;
        Ok(Self { path, entry, content_generation: put.content_generation, inline: put.inline, held_at, delta, data_bytes })
    }
}

impl From<&Structural> for proto::Structural {
    fn from(structural: &Structural) -> Self {
        let bytes = |path: &TreePath| Bytes::copy_from_slice(path.as_bytes());
        let change = match structural {
            Structural::Remove { generation, path } => {
                proto::structural::Change::Remove(proto::Remove { generation: *generation, path: bytes(path) })
            }
            Structural::RenameDirectory { generation, from, to } => {
                proto::structural::Change::Rename(proto::RenameDirectory { generation: *generation, from: bytes(from), to: bytes(to) })
            }
        };
        Self { change: Some(change) }
    }
}

impl TryFrom<proto::Structural> for Structural {
    type Error = DecodeError;

    fn try_from(message: proto::Structural) -> Result<Self, DecodeError> {
        let structural = match message.change {
            Some(proto::structural::Change::Remove(remove)) => Self::Remove { generation: remove.generation, path: path(&remove.path)? },
            Some(proto::structural::Change::Rename(rename)) => {
                Self::RenameDirectory { generation: rename.generation, from: path(&rename.from)?, to: path(&rename.to)? }
            }
            None => return Err(field("change", "a structural change", "not one that this version knows")),
        };
        match &structural {
            Self::Remove { path, .. } if path.is_root() => Err(field("path", "a removal", "the root")),
            Self::RenameDirectory { from, to, .. } if from.is_root() || to.is_root() || to.is_below(from) || from == to => {
                Err(field("to", from, "the root, the directory itself, or below it"))
            }
            _ => Ok(structural),
        }
    }
}

impl From<&Batch> for proto::Batch {
    fn from(batch: &Batch) -> Self {
        Self {
            source: Bytes::copy_from_slice(&batch.source.0),
            epoch: batch.epoch,
            from: batch.from,
            to: batch.to,
            is_last_part: batch.is_last_part,
            structure: batch.structure.iter().map(Into::into).collect(),
            puts: batch.puts.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Batch> for Batch {
    type Error = DecodeError;

    fn try_from(batch: proto::Batch) -> Result<Self, DecodeError> {
        let structure: Vec<Structural> = batch.structure.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        let puts: Vec<Put> = batch.puts.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        let within = |generation: u64| generation > batch.from && generation <= batch.to;
        if batch.from > batch.to || !structure.iter().all(|change| within(change.generation())) {
            return Err(field("generation", "a batch", "outside its bounds"));
        }
        if !structure.is_sorted_by_key(Structural::generation) || !puts.is_sorted_by(|one, next| one.path < next.path) {
            return Err(field("structure and puts", "a batch", "not in order"));
        }
        if puts.iter().any(|put| put.content_generation > batch.to) {
            return Err(field("content_generation", "a batch", "after its end"));
        }
        let source = source(&batch.source, "batch")?;
        Ok(Self { source, epoch: batch.epoch, from: batch.from, to: batch.to, is_last_part: batch.is_last_part, structure, puts })
    }
}
