//! Simulated days: what a schedule and its retention come to over time.

use crate::domain::{Schedule, SnapshotState};

use super::simulation_world::Life;

fn scheduled(expression: &str, replicas: u32) -> Life {
    let mut life = Life::new(replicas);
    life.pool.pool.snapshots.schedule = Ok(Some(Schedule::parse(expression, "Etc/UTC").unwrap()));
    life
}

/// Passes until so many hours of the simulation are over; calls `each` after each.
fn live(life: &mut Life, hours: i64, each: impl Fn(&Life)) {
    let end = life.now + hours * 3600;
    while life.now < end {
        life.pass();
        each(life);
    }
}

fn completed(life: &Life) -> usize {
    life.snapshots.iter().filter(|snapshot| snapshot.state == SnapshotState::Completed).count()
}

#[test]
fn an_hourly_schedule_takes_a_snapshot_an_hour_and_keeps_three_for_two_days() {
    let mut life = scheduled("0 * * * *", 3);
    live(&mut life, 1, |_| {});
    live(&mut life, 48, |life| {
        assert!(life.ready() >= 3, "fewer are ready than were asked for at second {}", life.now);
        assert!(life.ebs.len() <= 5, "more than one more in each of two zones: {} at second {}", life.ebs.len(), life.now);
        assert!(completed(life) <= 4, "{} snapshots are kept at second {}", completed(life), life.now);
    });
    live(&mut life, 1, |_| {});
    assert!((50..=52).contains(&life.snapshots_taken), "{} snapshots in 50 hours", life.snapshots_taken);
    assert_eq!(completed(&life), 3);
    let newest = life.snapshots.iter().map(crate::plan::generation_of).max().unwrap();
    assert!(life.objects.values().all(|object| object.origin.generation + 1 >= newest), "the volumes follow");
}

#[test]
fn a_day_of_failures_costs_a_snapshot_every_five_minutes_and_one_success_ends_it() {
    let mut life = scheduled("0 * * * *", 1);
    life.failing_snapshots = u32::MAX;
    live(&mut life, 24, |life| assert!(life.snapshots.len() <= 2, "failed snapshots pile up: {}", life.snapshots.len()));
    assert!((285..=295).contains(&life.snapshots_taken), "{} snapshots", life.snapshots_taken);
    assert_eq!(life.ready(), 0);
    life.failing_snapshots = 0;
    live(&mut life, 1, |_| {});
    let failed = life.snapshots.iter().filter(|snapshot| snapshot.state == SnapshotState::Error).count();
    assert_eq!((life.ready(), completed(&life), failed), (1, 1, 0));
}
