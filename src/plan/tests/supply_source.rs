//! A source that cannot be copied: nothing is made, and the message names the field and the fix.

use crate::domain::tags::TAG_SOURCE;
use crate::domain::{CloudVolume, GiB, Reason, SnapshotState, VolumeState};
use crate::plan::{ClaimFault, Condition, SourceSeen};

use super::build::{PoolBuild, fixed_snapshot, pool, source_volume, volume};
use super::words::{assert_finding, words};

fn shared_by(tag: Option<&str>) -> SourceSeen {
    let mut volume = source_volume();
    volume.tags.remove(TAG_SOURCE);
    volume.tags.extend(tag.map(|value| (TAG_SOURCE.to_owned(), value.to_owned())));
    SourceSeen::Volume(volume)
}

fn in_state(state: VolumeState) -> SourceSeen {
    SourceSeen::Volume(CloudVolume { state, ..source_volume() })
}

#[test]
fn each_fault_of_a_source_stops_everything_and_says_how_to_mend_it() {
    let sized = |gib| pool("web").but(|seen| seen.pool.size = Some(GiB(gib)));
    let pending = SourceSeen::Snapshot(crate::domain::CloudSnapshot { state: SnapshotState::Pending, ..fixed_snapshot() });
    let foreign = SourceSeen::Snapshot(crate::domain::CloudSnapshot { tags: [].into(), ..fixed_snapshot() });
    let (volume, snapshot) = ("spec.source.volumeID", "spec.source.snapshotID");
    let tag_command = "aws ec2 create-tags --resources vol-source --tags Key=volumedispatcher.io/source,Value=shop/web";
    let cases: Vec<(PoolBuild, Reason, Vec<&str>)> = vec![
        (
            pool("web").source(SourceSeen::Missing("vol-source".to_owned())),
            Reason::SourceNotFound,
            vec![volume, "vol-source", "check the id"],
        ),
        (
            pool("web").fixed_content(SourceSeen::Missing("snap-fixed".to_owned())),
            Reason::SourceNotFound,
            vec![snapshot, "snap-fixed", "check the id"],
        ),
        (pool("web").source(shared_by(None)), Reason::SourceNotShared, vec![volume, "is missing", tag_command]),
        (pool("web").source(shared_by(Some("shop/other"))), Reason::SourceNotShared, vec![volume, "\"shop/other\"", tag_command]),
        (pool("web").source(shared_by(Some(""))), Reason::SourceNotShared, vec![tag_command]),
        (pool("web").fixed_content(foreign), Reason::SourceNotShared, vec![snapshot, "--resources snap-fixed"]),
        (pool("web").source(in_state(VolumeState::Creating)), Reason::SourceNotUsable, vec![volume, "as soon as"]),
        (pool("web").source(in_state(VolumeState::Error)), Reason::SourceNotUsable, vec![volume]),
        (pool("web").source(in_state(VolumeState::Deleting)), Reason::SourceNotUsable, vec![volume]),
        (pool("web").source(in_state(VolumeState::Unknown)), Reason::SourceNotUsable, vec![volume]),
        (pool("web").fixed_content(pending), Reason::SourceNotUsable, vec![snapshot]),
        (sized(9), Reason::SizeBelowSource, vec!["spec.template.size", "9Gi", "10Gi or more", "leave it out"]),
    ];
    for (pool, reason, message_has) in cases {
        let plan = pool.replicas(2).plan();
        assert_eq!(words(&plan), [""; 0], "{reason}");
        assert_finding(&plan, Condition::SourceReady, false, reason, &message_has);
        assert_finding(&plan, Condition::Degraded, true, reason, &message_has);
        assert_finding(&plan, Condition::Ready, false, reason, &message_has);
        assert_eq!(plan.report.source, None);
    }
}

#[test]
fn the_tag_of_the_pool_or_a_star_shares_a_source() {
    for tag in ["shop/web", "*"] {
        let plan = pool("web").source(shared_by(Some(tag))).plan();
        assert_eq!(words(&plan), ["add 0 in a"], "{tag}");
        assert_finding(&plan, Condition::SourceReady, true, Reason::AsWanted, &["vol-source"]);
    }
}

#[test]
fn a_pool_of_another_namespace_does_not_pass_for_ours() {
    let plan = pool("web").source(shared_by(Some("other/web"))).plan();
    assert_finding(&plan, Condition::SourceReady, false, Reason::SourceNotShared, &["\"other/web\""]);
}

#[test]
fn an_attached_source_and_a_free_one_can_both_be_copied() {
    for state in [VolumeState::InUse, VolumeState::Available] {
        assert_eq!(words(&pool("web").source(in_state(state)).plan()), ["add 0 in a"], "{state:?}");
    }
}

#[test]
fn the_filesystem_of_the_source_is_learned_from_a_mounted_copy() {
    let mounted = volume("web-0").used_by("cart").but(|volume| volume.node.as_mut().unwrap().filesystem = Some("xfs".to_owned()));
    let learned = |volumes| pool("web").with(volumes).plan().report.source.unwrap().filesystem;
    assert_eq!(learned(vec![volume("web-1").ready(), mounted]).as_deref(), Some("xfs"));
    assert_eq!(learned(vec![volume("web-1").ready()]), None);
}

#[test]
fn the_report_names_the_source_as_it_is() {
    let report = pool("web").but(|seen| seen.pool.size = Some(GiB(40))).plan().report;
    let source = report.source.unwrap();
    assert_eq!((source.id.as_str(), source.zone, source.size_gib), ("vol-source", Some("a".into()), 10));
}

#[test]
fn a_missing_source_matters_more_than_a_missing_tag() {
    let plan = pool("web").source(SourceSeen::Missing("vol-source".to_owned())).snapshots([]).intent(None).plan();
    assert_finding(&plan, Condition::SnapshotFresh, false, Reason::SourceNotFound, &["spec.source.volumeID"]);
}

#[test]
fn a_claim_of_the_same_namespace_needs_no_tag() {
    let plan = pool("web").claimed(shared_by(None)).plan();
    assert_eq!(words(&plan), ["add 0 in a"]);
    assert_finding(&plan, Condition::SourceReady, true, Reason::AsWanted, &["vol-source"]);
}

#[test]
fn a_claim_that_names_no_ebs_volume_says_why() {
    let field = "spec.source.persistentVolumeClaim";
    let not_ebs = ClaimFault::NotEbs("a volume of the driver efs.csi.aws.com".to_owned());
    let cases = [
        (SourceSeen::Faulty(ClaimFault::NotFound), Reason::SourceNotFound, vec![field, "web-src", "make it"]),
        (SourceSeen::Faulty(ClaimFault::NotBound), Reason::SourceNotBound, vec![field, "web-src", "a pod that uses it"]),
        (SourceSeen::Faulty(not_ebs), Reason::SourceNotEbs, vec![field, "efs.csi.aws.com", "ebs.csi.aws.com"]),
        (SourceSeen::Faulty(ClaimFault::Raw), Reason::SourceNotUsable, vec![field, "volumeMode Filesystem", "spec.sync.mode"]),
        (SourceSeen::Missing("vol-gone".to_owned()), Reason::SourceNotFound, vec![field, "vol-gone"]),
    ];
    for (seen, reason, message_has) in cases {
        let plan = pool("web").claimed(seen).with([volume("web-0").ready()]).plan();
        assert_eq!(words(&plan), [""; 0], "{reason}: what is there is kept");
        assert_finding(&plan, Condition::SourceReady, false, reason, &message_has);
    }
}

#[test]
fn a_claim_that_was_made_again_with_another_volume_is_refused() {
    let before = |id: &str| pool("web").claimed(shared_by(None)).but(|seen| seen.pool.recorded_source = Some(id.to_owned())).plan();
    assert_eq!(words(&before("vol-source")), ["add 0 in a"]);
    let plan = before("vol-before");
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::SourceReady, false, Reason::SourceChanged, &["vol-before", "vol-source", "make a new pool"]);
}
