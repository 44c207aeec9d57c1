//! Which sources this node publishes and which copies it keeps in step, by what is mounted and who publishes. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use treesync::model::RuleOptions;

use super::gate::Promise;
use super::names::server_name;
use super::public_file;
use crate::domain::{ObjectKey, SyncPosition, VolumeId};

/// A mounted volume that this node publishes or keeps in step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Kept {
    /// Its object.
    pub(super) object: ObjectKey,
    /// Its pool.
    pub(super) pool: ObjectKey,
    /// The UID of its pool.
    pub(super) pool_uid: String,
    /// Whether it is the source of the pool.
    pub(super) is_source: bool,
    /// Its base mount.
    pub(super) path: PathBuf,
    /// The number of its device, as `st_dev` of what is mounted there.
    pub(super) device_number: Option<u64>,
}

/// What the object of a source says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SourceSeen {
    /// What travels.
    pub(super) exclude: Vec<String>,
    /// What copies keep.
    pub(super) preserve_on_copies: Vec<String>,
    /// Bytes a second to all followers.
    pub(super) bandwidth_bytes_per_second: Option<u64>,
    /// What claims of the pool are promised.
    pub(super) promise: Promise,
    /// The node whose agent publishes it, and that agent's address, once it does.
    pub(super) published: Option<(String, String)>,
    /// Why it is not published, if so.
    pub(super) why_not: String,
    /// Where it is while no pod has it, so that it cannot change; none otherwise.
    pub(super) rests_at: Option<SyncPosition>,
}

/// Where a source is published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// `ip:port`.
    pub(super) address: String,
    /// The name in the certificate that must be shown there.
    pub(super) server_name: String,
}

/// A source that this node shall publish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Publication {
    pub(super) volume: VolumeId,
    pub(super) path: PathBuf,
    pub(super) device_number: Option<u64>,
    pub(super) exclude: Vec<String>,
    pub(super) bandwidth_bytes_per_second: Option<u64>,
}

/// The copies of one pool that this node shall keep in step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Following {
    /// Where their source is; none while it is not published.
    pub(super) target: Option<Target>,
    pub(super) exclude: Vec<String>,
    pub(super) preserve_on_copies: Vec<String>,
    pub(super) copies: BTreeMap<VolumeId, PathBuf>,
}

/// What this node shall do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Wanted {
    pub(super) publications: BTreeMap<ObjectKey, Publication>,
    pub(super) followings: BTreeMap<ObjectKey, Following>,
}

/// Works out what this node shall do. Volumes of a pool whose source is unknown are left alone.
pub(super) fn wanted(kept: &BTreeMap<VolumeId, Kept>, sources: &BTreeMap<ObjectKey, SourceSeen>) -> Wanted {
    let mut wanted = Wanted::default();
    for (id, volume) in kept {
        let Some(source) = sources.get(&volume.pool) else { continue };
        if volume.is_source {
            let publication = Publication {
                volume: id.clone(),
                path: volume.path.clone(),
                device_number: volume.device_number,
                exclude: source.exclude.clone(),
                bandwidth_bytes_per_second: source.bandwidth_bytes_per_second,
            };
            wanted.publications.insert(volume.pool.clone(), publication);
        } else {
            let following = wanted.followings.entry(volume.pool.clone()).or_insert_with(|| follow(source));
            following.copies.insert(id.clone(), volume.path.clone());
        }
    }
    wanted
}

fn follow(source: &SourceSeen) -> Following {
    let target = |(node, address): &(String, String)| Target { address: address.clone(), server_name: server_name(node) };
    Following {
        target: source.published.as_ref().map(target),
        exclude: source.exclude.clone(),
        preserve_on_copies: source.preserve_on_copies.clone(),
        copies: BTreeMap::new(),
    }
}

/// The rules of both ends: the pool's, and our public directory, which each copy has for itself.
pub(super) fn rules(exclude: &[String], preserve_on_copies: &[String]) -> RuleOptions {
    let own = format!("/{}", public_file::DIRECTORY);
    RuleOptions {
        exclude: exclude.iter().cloned().chain([own]).collect(),
        preserve_on_copies: preserve_on_copies.to_vec(),
        ..RuleOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use treesync::model::{Rules, TreePath};

    fn pool() -> ObjectKey {
        ObjectKey::new("shop", "web")
    }

    fn kept(name: &str, is_source: bool) -> Kept {
        Kept {
            object: ObjectKey::new("shop", name),
            pool: pool(),
            pool_uid: "u".to_owned(),
            is_source,
            path: PathBuf::from("/v").join(name),
            device_number: None,
        }
    }

    fn source(published: Option<(&str, &str)>) -> SourceSeen {
        SourceSeen {
            exclude: vec!["*.tmp".to_owned()],
            preserve_on_copies: vec!["cache/**".to_owned()],
            bandwidth_bytes_per_second: Some(7),
            promise: Promise { max_staleness: Duration::from_secs(5), serves_alone: false },
            published: published.map(|(node, address)| (node.to_owned(), address.to_owned())),
            why_not: String::new(),
            rests_at: None,
        }
    }

    #[test]
    fn all_copies_of_a_pool_share_one_session_to_the_node_that_publishes() {
        let volumes = BTreeMap::from([("vol-1".into(), kept("a", false)), ("vol-2".into(), kept("b", false))]);
        let wanted = wanted(&volumes, &BTreeMap::from([(pool(), source(Some(("node2", "10.0.0.2:8082"))))]));
        assert!(wanted.publications.is_empty());
        let following = &wanted.followings[&pool()];
        assert_eq!(following.copies.len(), 2);
        let target = Target { address: "10.0.0.2:8082".to_owned(), server_name: "node2.agent.volumedispatcher.io".to_owned() };
        assert_eq!(following.target, Some(target));
    }

    #[test]
    fn the_node_of_the_source_publishes_it_and_follows_it_with_its_own_copies() {
        let volumes = BTreeMap::from([("vol-1".into(), kept("a", false)), ("vol-9".into(), kept("web-source", true))]);
        let wanted = wanted(&volumes, &BTreeMap::from([(pool(), source(None))]));
        assert_eq!(wanted.publications[&pool()].volume, "vol-9".into());
        assert_eq!(wanted.publications[&pool()].bandwidth_bytes_per_second, Some(7));
        assert_eq!(wanted.followings[&pool()].target, None, "it is not published yet");
    }

    #[test]
    fn volumes_of_a_pool_without_a_source_are_left_alone() {
        let volumes = BTreeMap::from([("vol-1".into(), kept("a", false))]);
        assert_eq!(wanted(&volumes, &BTreeMap::new()), Wanted::default());
    }

    #[test]
    fn our_public_directory_never_travels_and_what_has_its_name_below_does() {
        let rules = Rules::new(rules(&["*.tmp".to_owned()], &[])).expect("the patterns are good");
        let travels = |path: &str| rules.travels(&TreePath::parse(path).expect("a path"));
        assert!(!travels(".volume-dispatcher") && !travels(".volume-dispatcher/generation.json") && !travels("a/b.tmp"));
        assert!(travels("site/.volume-dispatcher") && travels("index.html"));
    }
}
