//! Changes of volumes in place, after a change of the template.

use crate::domain::{GiB, ModificationState, Reason, VolumeSettings};
use crate::plan::{Condition, Modification};

use super::build::{NOW, PoolBuild, VolumeBuild, at, pool, settings, volume};
use super::words::{assert_finding, words};

fn wanting(settings: VolumeSettings) -> PoolBuild {
    pool("web").but(|seen| seen.pool.template.settings = settings)
}

fn of_type(volume_type: &str, iops: Option<u32>, throughput: Option<u32>) -> VolumeSettings {
    VolumeSettings { volume_type: volume_type.to_owned(), iops, throughput }
}

fn changed(seconds_ago: i64, state: Option<ModificationState>) -> VolumeBuild {
    let last = Modification { requested: at(NOW - seconds_ago), state, refusal: None };
    volume("web-0").ready().but(|volume| volume.recorded.modification = Some(last))
}

#[test]
fn type_and_speed_change_in_place_also_under_a_claim() {
    let cases = [
        (of_type("gp3", Some(4000), Some(250)), "modify web-0 to 10Gi gp3 4000 250"),
        (of_type("gp3", Some(4000), None), "modify web-0 to 10Gi gp3 4000 125"),
        (of_type("io2", Some(4000), None), "modify web-0 to 10Gi io2 4000 -"),
        (of_type("gp2", None, None), "modify web-0 to 10Gi gp2 - -"),
    ];
    for (wanted, word) in cases {
        assert_eq!(words(&wanting(wanted.clone()).with([volume("web-0").ready()]).plan()), [word]);
        assert_eq!(words(&wanting(wanted).replicas(0).with([volume("web-0").used_by("cart")]).plan()), [word]);
    }
}

#[test]
fn what_ec2_gives_by_itself_is_no_difference() {
    let gp3 = of_type("gp3", None, None);
    assert_eq!(words(&wanting(gp3.clone()).with([volume("web-0").ready()]).plan()), [""; 0], "3000 and 125 are the defaults");
    let faster = volume("web-0").ready().but(|volume| volume.cloud.as_mut().unwrap().settings = of_type("gp3", Some(4000), Some(125)));
    assert_eq!(words(&wanting(gp3).with([faster]).plan()), ["modify web-0 to 10Gi gp3 3000 125"], "taken out of the template");
    let gp2 = volume("web-0").ready().but(|volume| volume.cloud.as_mut().unwrap().settings = of_type("gp2", Some(100), None));
    assert_eq!(words(&wanting(of_type("gp2", None, None)).with([gp2]).plan()), [""; 0], "EC2 computes the IOPS of gp2");
}

#[test]
fn a_free_volume_grows_and_a_claimed_one_keeps_what_its_claim_got() {
    let wanting_20 = || pool("web").but(|seen| seen.pool.size = Some(GiB(20)));
    assert_eq!(words(&wanting_20().with([volume("web-0").ready()]).plan()), ["modify web-0 to 20Gi gp3 3000 125"]);
    assert_eq!(words(&wanting_20().replicas(0).with([volume("web-0").used_by("cart")]).plan()), [""; 0]);
    let grown = volume("web-0").ready().but(|volume| volume.cloud.as_mut().unwrap().size = GiB(20));
    assert_eq!(words(&wanting_20().with([grown]).plan()), ["record 20Gi of web-0"]);
}

#[test]
fn a_change_waits_for_the_last_one_and_for_its_cool_down() {
    let (hours, busy) = (3600, [""; 0]);
    let of = |last: VolumeBuild| words(&wanting(of_type("gp3", Some(4000), None)).with([last]).plan());
    let word = ["modify web-0 to 10Gi gp3 4000 125"];
    for state in [ModificationState::Modifying, ModificationState::Optimizing] {
        assert_eq!(of(changed(7 * hours, Some(state))), busy, "{state:?}");
    }
    for state in [ModificationState::Completed, ModificationState::Failed] {
        assert_eq!(of(changed(6 * hours - 1, Some(state))), busy, "{state:?}");
        assert_eq!(of(changed(6 * hours, Some(state))), word, "{state:?}");
    }
    assert_eq!(of(changed(59, None)), busy, "EC2 may not show it yet");
    assert_eq!(of(changed(60, None)), word, "the call was never made");
}

#[test]
fn a_refused_change_is_shown_and_asked_for_again() {
    let refused = changed(1, None).but(|volume| volume.recorded.modification.as_mut().unwrap().refusal = Some("too much".to_owned()));
    let plan = wanting(of_type("gp3", Some(4000), None)).with([refused]).plan();
    assert_eq!(words(&plan), ["modify web-0 to 10Gi gp3 4000 125"]);
    assert_finding(&plan, Condition::Degraded, true, Reason::Ec2Failed, &["web-0: too much"]);
}

#[test]
fn tags_are_set_in_place_and_others_are_left_alone() {
    let wanting_team = || pool("web").but(|seen| drop(seen.pool.template.tags.insert("team".to_owned(), "web".to_owned())));
    assert_eq!(words(&wanting_team().with([volume("web-0").ready()]).plan()), ["tag web-0 {\"team\": \"web\"}"]);
    let tagged = |value: &str| {
        volume("web-0").ready().but(|volume| {
            let tags = &mut volume.cloud.as_mut().unwrap().tags;
            tags.extend([("team".to_owned(), value.to_owned()), ("mine".to_owned(), "too".to_owned())]);
        })
    };
    assert_eq!(words(&wanting_team().with([tagged("web")]).plan()), [""; 0]);
    assert_eq!(words(&wanting_team().with([tagged("shop")]).plan()), ["tag web-0 {\"team\": \"web\"}"]);
}

#[test]
fn what_is_on_its_way_in_or_out_is_not_changed() {
    let wanted = || wanting(of_type("gp3", Some(4000), None)).replicas(1);
    assert_eq!(words(&wanted().with([volume("web-0").initializing()]).plan()), [""; 0]);
    assert_eq!(words(&wanted().replicas(0).with([volume("web-0").ready()]).plan()), ["drop web-0"]);
    assert_eq!(words(&wanted().replicas(0).with([volume("web-0").ready().deleting()]).plan()), ["delete vol-web-0 of web-0"]);
    let kept = volume("web-0").ready().but(|volume| volume.retired = true);
    assert_eq!(words(&wanted().replicas(0).with([kept]).plan()), [""; 0], "a retained volume stays as it was");
    assert_eq!(words(&wanted().but(|seen| seen.pool.paused = true).with([volume("web-0").ready()]).plan()), [""; 0]);
    assert_eq!(settings(), of_type("gp3", Some(3000), Some(125)), "what the builders make");
}
