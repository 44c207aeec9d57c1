//! Volumes that are filled from a folder: made without a client, in a folder that rests or in a simulator that runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::disk::{Disk, Filesystem, Prepared};
use crate::error::Error;
use crate::store::{Store, Stored};
use crate::world::{Action, Call, CreateVolume, Profile, Reply, Settings, Tag, TagSpecification, World};

/// A volume to import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    /// The folder whose content it gets, on the machine of the simulator.
    pub(crate) from: PathBuf,
    /// The filesystem it gets.
    pub(crate) filesystem: Filesystem,
    /// The size; a fifth more than the content when missing.
    #[serde(default)]
    pub(crate) size_gib: Option<u32>,
    /// The zone by name; the region's first when missing.
    #[serde(default)]
    pub(crate) zone: Option<String>,
    /// The type; gp3 when missing.
    #[serde(default)]
    pub(crate) volume_type: Option<String>,
    /// The tags.
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

impl Import {
    /// Makes the image; the volume comes afterwards. Blocks.
    pub(crate) fn prepare(&self, disk: &Disk) -> Result<Prepared, Error> {
        if !self.from.is_dir() {
            return Err(Error::Import(format!("{} is not a folder", self.from.display())));
        }
        disk.prepare(&self.from, self.filesystem, self.size_gib)
    }

    /// Makes the volume of an image: in the account as by a call, on disk by a rename. Returns its id.
    ///
    /// On an error the world may be changed: who holds it takes the one from before.
    pub(crate) fn finish(&self, world: &mut World, now: jiff::Timestamp, disk: &Disk, prepared: &Prepared) -> Result<String, Error> {
        let call = self.call(prepared.size_gib, &world.settings().region);
        let id = match world.apply(now, &call) {
            Ok(Reply::Volume(volume)) => volume.id,
            Ok(other) => return Err(Error::Import(format!("the call answered {other:?}"))),
            Err(refused) => return Err(Error::Import(format!("EC2 refused the volume: {refused}"))),
        };
        prepared.become_volume(disk, &id)?;
        Ok(id)
    }

    fn call(&self, size_gib: u32, region: &str) -> Call {
        let tags: Vec<Tag> = self.tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect();
        let tagged = (!tags.is_empty()).then(|| TagSpecification { resource_type: "volume".to_owned(), tags });
        Action::CreateVolume(CreateVolume {
            size_gib: Some(size_gib.into()),
            zone: Some(self.zone.clone().unwrap_or_else(|| format!("{region}a"))),
            volume_type: Some(self.volume_type.clone().unwrap_or_else(|| "gp3".to_owned())),
            tag_specifications: tagged.into_iter().collect(),
            ..CreateVolume::default()
        })
        .into()
    }
}

/// Imports a volume into a data folder that no simulator runs on, with an account if it has none. Blocks.
///
/// The volume is `creating` in the account until a simulator runs, which finds the image there.
pub(crate) fn into_folder(folder: &Path, region: &str, import: &Import) -> Result<String, Error> {
    let store = Store::open(folder)?;
    let new = || Stored {
        world: World::new(Settings { region: region.to_owned(), profile: Profile::Fast, seed: crate::server::seed() }),
        ahead_ms: 0,
    };
    let Stored { mut world, ahead_ms } = store.load()?.unwrap_or_else(new);
    let disk = Disk::open(folder)?;
    let now = Clock::ahead_by(ahead_ms).now();
    let made = import.prepare(&disk).and_then(|prepared| import.finish(&mut world, now, &disk, &prepared));
    let stored = made.and_then(|id| {
        let state = serde_json::to_vec_pretty(&world).map_err(Error::Unwritable)?;
        store.save(&state, ahead_ms).map(|()| id)
    });
    disk.rest()?;
    stored
}
