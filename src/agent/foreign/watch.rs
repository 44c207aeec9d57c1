//! Looks at the mount table whenever it changes, publishes what pods have, and lets go of what they have no more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};
use treesync::model::Position;

use super::here::{Board, Here, Word};
use crate::agent::device::Device;
use crate::agent::mount::changes::MountChanges;
use crate::agent::mount::foreign::{Base, Folders, Usage, usage};
use crate::agent::mount::{self, table::Mount};
use crate::agent::state::{Agent, is_foreign, volume_id};
use crate::api::{PoolVolume, SyncState};
use crate::domain::{ObjectKey, VolumeId};

/// How often the mount table is looked at when its changes cannot be watched.
const LOOK: Duration = Duration::from_millis(100);

/// What is known between two looks.
#[derive(Default)]
struct Known {
    /// Sources that are published, by us and for this object.
    published: BTreeSet<VolumeId>,
    /// Sources that are being let go, each by a task of its own: one that takes long holds up no other.
    releases: JoinSet<(VolumeId, Option<Position>)>,
    /// The same ones.
    releasing: BTreeSet<VolumeId>,
    here: BTreeMap<VolumeId, Here>,
    /// The objects that this is about: the one of several pools whose source a volume is.
    objects: BTreeMap<VolumeId, ObjectKey>,
    /// Sources that pods of this node have or had since another node said that they rest.
    had: BTreeSet<VolumeId>,
}

impl Known {
    /// A task that ended by itself has let nothing go that it could tell of.
    fn note_released(&mut self, released: Result<(VolumeId, Option<Position>), JoinError>) {
        let Ok((id, last)) = released.inspect_err(|error| warn!(%error, "a source was let go without a word")) else {
            self.releasing.clear();
            return;
        };
        info!(volume_id = %id, position = ?last, "a source is let go");
        self.releasing.remove(&id);
        self.here.insert(id, Here::Unused { is_attached: true, word: Word::LetGo(last, Timestamp::now()) });
    }
}

/// Runs forever.
pub(super) async fn run<E>(
    agent: Agent<E>,
    (sources, changed): (Store<PoolVolume>, Arc<Notify>),
    requested: Vec<VolumeId>,
    board: watch::Sender<Board>,
) {
    let mounts = MountChanges::watch().inspect_err(|error| warn!(%error, "the mount table is looked at from time to time only"));
    let mut known = Known { had: requested.into_iter().collect(), ..Known::default() };
    loop {
        // Most nodes have nothing to look for, and many mounts.
        if !known.here.is_empty() || sources.state().iter().any(|source| is_foreign(source)) {
            match tokio::task::spawn_blocking(mount::table).await {
                Ok(Ok(table)) => look(&agent, &sources, &table, &mut known),
                Ok(Err(error)) => warn!(%error, "the mount table cannot be read and is read again"),
                Err(error) => warn!(%error, "the mount table was not read and is read again"),
            }
        }
        let about = |(id, here): (&VolumeId, &Here)| Some((id.clone(), (known.objects.get(id)?.clone(), here.clone())));
        let now: Board = known.here.iter().filter_map(about).collect();
        board.send_if_modified(|told| {
            let is_news = *told != now;
            *told = now;
            is_news
        });
        let mounted = async {
            match &mounts {
                Ok(mounts) => mounts.next().await,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        };
        tokio::select! {
            Some(released) = known.releases.join_next(), if !known.releases.is_empty() => known.note_released(released),
            () = mounted => {}
            () = changed.notified() => {}
        }
    }
}

fn look<E>(agent: &Agent<E>, sources: &Store<PoolVolume>, table: &[Mount], known: &mut Known) {
    let all = sources.state();
    let foreign = one_of_each(agent, &all);
    known.objects = foreign.iter().map(|(id, source)| (id.clone(), key_of(source))).collect();
    // One of which nothing can be told stays as it is.
    let seen: BTreeMap<&VolumeId, (Option<Device>, Usage)> = foreign.keys().filter_map(|id| Some((id, used(agent, id, table)?))).collect();
    let is_kept = |id: &VolumeId| {
        let is_used = seen.get(id).map_or(foreign.contains_key(id), |(_, usage)| matches!(usage, Usage::Used { base: Ok(_), .. }));
        is_used && foreign.get(id).is_some_and(|source| is_assigned(agent, source))
    };
    // First of all, and all at once: the kubelet waits for it.
    for id in known.published.extract_if(.., |id| !is_kept(id)) {
        known.releasing.insert(id.clone());
        let live = agent.live.clone();
        known.releases.spawn(async move {
            let last = live.release(&id).await;
            (id, last)
        });
    }
    for (id, _) in known.here.extract_if(.., |id, _| !foreign.contains_key(id)) {
        agent.set_requested(&id, false);
    }
    known.had.retain(|id| foreign.contains_key(id));
    for (id, (device, usage)) in seen {
        if matches!(usage, Usage::Used { .. }) {
            known.had.insert(id.clone());
        } else if !rests_by_another(agent, foreign[id]) {
            known.had.remove(id);
        }
        agent.set_requested(id, known.had.contains(id));
        if known.releasing.contains(id) {
            continue;
        }
        let here = match (usage, device) {
            (Usage::Used { pods, base }, Some(device)) => of_pods(agent, (id, foreign[id]), device, (pods, base)),
            (_, device) => unused(agent, foreign[id], known.here.get(id), device.is_some()),
        };
        if matches!(here, Here::Published { .. }) {
            known.published.insert(id.clone());
        }
        known.here.insert(id.clone(), here);
    }
}

/// The sources that another driver attaches. A volume that is the source of several pools is published for one of them: the one
/// for which it is published already, else one that is assigned to this node, else the first by name.
fn one_of_each<'a, E>(agent: &Agent<E>, all: &'a [Arc<PoolVolume>]) -> BTreeMap<VolumeId, &'a PoolVolume> {
    let mut found: BTreeMap<VolumeId, &PoolVolume> = BTreeMap::new();
    let rank = |id: &VolumeId, source: &PoolVolume| {
        let key = key_of(source);
        (!agent.live.keeps(id, &key), !is_assigned(agent, source), key)
    };
    for source in all.iter().filter(|source| is_foreign(source)) {
        let Some(id) = volume_id(source) else { continue };
        let is_better = found.get(&id).is_none_or(|other| rank(&id, source) < rank(&id, other));
        if is_better {
            found.insert(id, source);
        }
    }
    found
}

fn key_of(source: &PoolVolume) -> ObjectKey {
    ObjectKey::new(source.namespace().unwrap_or_default(), source.name_any())
}

/// Pods have it: it is published, or it is said why not.
fn of_pods<E>(
    agent: &Agent<E>,
    (id, source): (&VolumeId, &PoolVolume),
    device: Device,
    (pods, base): (u32, Result<Base, &'static str>),
) -> Here {
    let published =
        base.map_err(str::to_owned).and_then(|base| Ok((publish(agent, (id, source), (&base.path, &device))?, base.filesystem)));
    match published {
        Ok((true, filesystem)) => Here::Published { device: device.name, filesystem, pods },
        Ok((false, _)) => Here::Used { device: device.name, pods, problem: None },
        Err(problem) => Here::Used { device: device.name, pods, problem: Some(problem) },
    }
}

/// Whether another node's word stands of where it rests. It is asked for until the controller has forgotten that, also when the pod
/// is gone by then.
fn rests_by_another<E>(agent: &Agent<E>, source: &PoolVolume) -> bool {
    let side = source.status.as_ref().and_then(|status| status.node.as_ref()).filter(|side| side.name != agent.settings.node.as_str());
    side.and_then(|side| side.sync.as_ref()).is_some_and(|sync| sync.state == SyncState::NotMounted)
}

fn is_assigned<E>(agent: &Agent<E>, source: &PoolVolume) -> bool {
    source.spec.node_name.as_deref() == Some(agent.settings.node.as_str())
}

/// How pods use a source; none when that cannot be told now.
fn used<E>(agent: &Agent<E>, id: &VolumeId, table: &[Mount]) -> Option<(Option<Device>, Usage)> {
    let found = agent.settings.devices.find(id);
    let device = found.inspect_err(|error| warn!(%error, "the device tree cannot be read and is read again")).ok()?;
    let own = agent.settings.state.join("volumes");
    let folders = Folders { kubelet: &agent.settings.kubelet, own: &own };
    let usage = device.as_ref().map_or(Usage::Unused, |device| usage(table, &device.numbers, folders));
    Some((device, usage))
}

/// Publishes it where it is mounted, if that is the order; the error says what is in the way.
fn publish<E>(agent: &Agent<E>, (id, source): (&VolumeId, &PoolVolume), place: (&Path, &Device)) -> Result<bool, String> {
    if !is_assigned(agent, source) {
        return Ok(false);
    }
    let object = key_of(source);
    if let Some(other) = agent.live.kept_by_another(id, &object) {
        return Err(format!(
            "it is the volume of the PoolVolume {other}, which follows or publishes it; a source is published for one pool"
        ));
    }
    agent.live.keep(id, source, place);
    Ok(true)
}

/// What was said of it before stays, unless this process has just begun and pods may have had it unseen.
fn unused<E>(agent: &Agent<E>, source: &PoolVolume, before: Option<&Here>, is_attached: bool) -> Here {
    let word = match before {
        Some(Here::Unused { word, .. }) => word.clone(),
        // Pods had it, and it was not published.
        Some(_) => Word::LetGo(None, Timestamp::now()),
        None => {
            let stored = agent.reporter.stored(source).and_then(|side| side.sync);
            let is_said = stored.is_some_and(|sync| sync.state == SyncState::NotMounted);
            if is_said && is_attached { Word::LetGo(None, Timestamp::now()) } else { Word::AsBefore }
        }
    };
    Here::Unused { is_attached, word }
}
