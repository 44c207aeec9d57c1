//! `status.node.sync` of a volume, made of what is on the board. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;
use treesync::model::Position;

use super::board::{Publishing, State as Board};
use super::pace::News;
use super::progress::{Link, Progress, State};
use super::wanted::Kept;
use crate::api::{SyncState, SyncStatus};
use crate::domain::VolumeId;

/// What is to be told of a volume; none when it is not kept. Answers that nobody gave since the start of this process
/// stay as they are stored.
pub(super) fn side(board: &Board, id: &VolumeId, stored: Option<&SyncStatus>, now: Instant) -> Option<SyncStatus> {
    let kept = board.kept.get(id)?;
    let mut side = if kept.is_source { publishing(board.publishing.get(&kept.pool)) } else { following(board, kept, id, now) };
    let answers = board.answers.get(id).cloned().unwrap_or_default();
    side.checkpoint = answers.checkpoint.or_else(|| stored.and_then(|stored| stored.checkpoint.clone()));
    side.verified = answers.verified.or_else(|| stored.and_then(|stored| stored.verified.clone()));
    Some(side)
}

fn placed(state: SyncState, position: Option<Position>) -> SyncStatus {
    let (epoch, generation) = position.map_or((0, 0), |position| (position.epoch, position.generation));
    let source = position.map(|position| position.source.to_string()).unwrap_or_default();
    SyncStatus { state, source, epoch, generation, ..SyncStatus::default() }
}

fn publishing(publishing: Option<&Publishing>) -> SyncStatus {
    let Some(publishing) = publishing else { return placed(SyncState::Disconnected, None) };
    let state = match publishing {
        Publishing { error: Some(_), .. } => SyncState::Failed,
        Publishing { is_scanning: true, .. } | Publishing { position: None, .. } => SyncState::Scanning,
        Publishing { address: None, .. } => SyncState::Disconnected,
        _ => SyncState::Publishing,
    };
    SyncStatus { address: publishing.address.clone(), error: publishing.error.clone(), ..placed(state, publishing.position) }
}

fn following(board: &Board, kept: &Kept, id: &VolumeId, now: Instant) -> SyncStatus {
    let nothing = Progress::default();
    let copy = board.copies.get(id).unwrap_or(&nothing);
    let link = board.link(&kept.pool);
    let source = board.sources.get(&kept.pool);
    let rest = source.and_then(|source| source.rests_at.as_ref()).filter(|_| matches!(link, Link::Unpublished(_)));
    let max_staleness = source.map(|source| source.promise.max_staleness).unwrap_or_default();
    if rest.is_some_and(|rest| copy.has(rest)) {
        return SyncStatus { last_in_sync_time: copy.in_sync.map(|(_, time)| Time(time)), ..placed(SyncState::InSync, copy.durable) };
    }
    let state = match copy.state(&link, now, max_staleness) {
        State::CatchingUp => SyncState::CatchingUp,
        State::InSync => SyncState::InSync,
        State::Disconnected => SyncState::Disconnected,
        State::Failed => SyncState::Failed,
    };
    let broken = match link {
        Link::Broken(why) | Link::Unpublished(why) => Some(why),
        Link::Connected | Link::Untried => None,
    };
    SyncStatus {
        lag: copy.lag().unwrap_or_default(),
        last_in_sync_time: copy.in_sync.map(|(_, time)| Time(time)),
        error: copy.problem.clone().or(broken),
        ..placed(state, copy.durable)
    }
}

/// What of it is news to who reads the object.
pub(super) fn news(stored: Option<&SyncStatus>, side: &SyncStatus) -> News {
    let Some(stored) = stored else { return News::State };
    let answers = |side: &SyncStatus| (side.checkpoint.clone(), side.verified.clone());
    let state = |side: &SyncStatus| (side.state, side.source.clone(), side.epoch, side.address.clone(), side.error.clone());
    if answers(stored) != answers(side) {
        News::Answer
    } else if state(stored) != state(side) {
        News::State
    } else if (stored.generation, stored.lag) != (side.generation, side.lag) {
        News::Position
    } else {
        News::Nothing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use jiff::Timestamp;

    use super::super::board::Answers;
    use super::super::progress::Heard;
    use super::*;
    use crate::api::CheckpointStatus;
    use crate::domain::ObjectKey;
    use treesync::model::SourceId;

    fn at(generation: u64) -> Position {
        Position { source: SourceId([1; 16]), epoch: 3, generation }
    }

    fn pool() -> ObjectKey {
        ObjectKey::new("shop", "web")
    }

    fn board(is_source: bool) -> Board {
        let kept = Kept {
            object: ObjectKey::new("shop", "web-0"),
            pool: pool(),
            pool_uid: "u".to_owned(),
            is_source,
            path: PathBuf::from("/v"),
            device_number: None,
        };
        Board { kept: BTreeMap::from([("vol-1".into(), kept)]), ..Board::default() }
    }

    fn told(board: &Board, stored: Option<&SyncStatus>) -> SyncStatus {
        side(board, &"vol-1".into(), stored, Instant::now()).expect("it is kept")
    }

    #[test]
    fn a_copy_tells_its_durable_position_and_what_it_lacks() {
        let mut board = board(false);
        let mut copy = Progress::default();
        let newest = Heard::Newest(at(9), Instant::now(), Timestamp::UNIX_EPOCH);
        for heard in [Heard::Opened(Some(at(3))), Heard::Visible(at(7)), Heard::Durable(at(5)), newest] {
            copy.hear(heard);
        }
        board.copies.insert("vol-1".into(), copy);
        board.links.insert(pool(), Link::Connected);
        let side = told(&board, None);
        assert_eq!((side.state, side.epoch, side.generation, side.lag), (SyncState::CatchingUp, 3, 5, 4));
        assert_eq!(side.source, "01010101-0101-0101-0101-010101010101");
        board.links.insert(pool(), Link::Broken("refused".to_owned()));
        let side = told(&board, None);
        assert_eq!((side.state, side.error.as_deref()), (SyncState::Disconnected, Some("refused")));
    }

    #[test]
    fn a_source_is_scanning_until_it_is_compared_and_disconnected_until_it_is_served() {
        let mut board = board(true);
        assert_eq!(told(&board, None).state, SyncState::Disconnected);
        let mut publishing = Publishing { position: Some(at(1)), is_scanning: true, ..Publishing::default() };
        let mut state = |publishing: &Publishing| {
            board.publishing.insert(pool(), publishing.clone());
            told(&board, None).state
        };
        assert_eq!(state(&publishing), SyncState::Scanning);
        publishing.is_scanning = false;
        assert_eq!(state(&publishing), SyncState::Disconnected);
        publishing.address = Some("10.0.0.1:8082".to_owned());
        assert_eq!(state(&publishing), SyncState::Publishing);
        publishing.error = Some("no such directory".to_owned());
        assert_eq!(state(&publishing), SyncState::Failed);
    }

    #[test]
    fn an_answer_of_an_earlier_process_stays_until_there_is_another() {
        let mut board = board(true);
        let answer = |number| CheckpointStatus { number, epoch: 3, generation: 8, time: Time(Timestamp::UNIX_EPOCH), error: None };
        let stored = SyncStatus { checkpoint: Some(answer(4)), ..SyncStatus::default() };
        assert_eq!(told(&board, Some(&stored)).checkpoint, Some(answer(4)));
        board.answers.insert("vol-1".into(), Answers { checkpoint: Some(answer(5)), verified: None });
        assert_eq!(told(&board, Some(&stored)).checkpoint, Some(answer(5)));
    }

    #[test]
    fn a_new_time_alone_is_no_news_and_an_answer_is_the_most() {
        let stored = SyncStatus { generation: 4, last_in_sync_time: None, ..SyncStatus::default() };
        let later = SyncStatus { last_in_sync_time: Some(Time(Timestamp::UNIX_EPOCH)), ..stored.clone() };
        assert_eq!(news(Some(&stored), &later), News::Nothing);
        assert_eq!(news(Some(&stored), &SyncStatus { generation: 5, ..stored.clone() }), News::Position);
        assert_eq!(news(Some(&stored), &SyncStatus { error: Some("x".to_owned()), generation: 5, ..stored.clone() }), News::State);
        let answer = CheckpointStatus { number: 1, epoch: 1, generation: 1, time: Time(Timestamp::UNIX_EPOCH), error: None };
        assert_eq!(news(Some(&stored), &SyncStatus { checkpoint: Some(answer), ..stored.clone() }), News::Answer);
        assert_eq!(news(None, &stored), News::State);
    }
}
