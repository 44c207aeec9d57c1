//! Where everything lies below the data folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, io};

/// The paths of one data folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Absolute and free of links, since the kernel names backing files so.
    root: PathBuf,
    /// Where the folders of images are: the root, or the mount point of their own filesystem.
    images: PathBuf,
}

/// The file with the images' own filesystem, where the data folder has no reflinks.
pub(super) const STORE: &str = "xfs.img";

impl Layout {
    /// The layout below an existing folder.
    pub(crate) fn new(folder: &Path) -> Result<Self, Error> {
        let root = fs::canonicalize(folder).map_err(io("resolve", folder))?;
        let mut layout = Self { images: root.clone(), root };
        if layout.store().exists() {
            layout.images = layout.mount_point();
        }
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The file of the images' own filesystem, which need not exist.
    pub(super) fn store(&self) -> PathBuf {
        self.root.join(STORE)
    }

    /// Where that filesystem is mounted.
    pub(super) fn mount_point(&self) -> PathBuf {
        self.root.join("xfs")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.images.join("volumes")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.images.join("snapshots")
    }

    pub(crate) fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    pub(crate) fn volume(&self, id: &str) -> PathBuf {
        self.volumes().join(format!("{id}.img"))
    }

    pub(crate) fn snapshot(&self, id: &str) -> PathBuf {
        self.snapshots().join(format!("{id}.img"))
    }

    pub(crate) fn instance(&self, id: &str) -> PathBuf {
        self.instances().join(id)
    }

    /// The folder of an instance's device nodes.
    pub(crate) fn dev(&self, instance_id: &str) -> PathBuf {
        self.instance(instance_id).join("dev")
    }

    /// The folder that stands for `/sys/block` of an instance.
    pub(crate) fn sys_block(&self, instance_id: &str) -> PathBuf {
        self.instance(instance_id).join("sys/block")
    }
}

/// The name of the only namespace of an NVMe controller.
pub(crate) fn device_name(nvme_index: u32) -> String {
    format!("nvme{nvme_index}n1")
}
