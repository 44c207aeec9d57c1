//! Remembers since when each source volume was attached to nothing, as far as the looks of this leader can tell.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{CloudVolume, VolumeId};
use crate::plan::FreeSpan;

/// Time spans in which source volumes were free. In memory only: a new leader knows of none, so that it rather takes a
/// snapshot too many than one too few.
#[derive(Debug, Default)]
pub(super) struct SourceUse {
    spans: BTreeMap<VolumeId, FreeSpan>,
    last_look: Option<Timestamp>,
}

impl SourceUse {
    /// Adds a look at all source volumes. Looks further apart than `longest_gap` prove nothing about the time between.
    pub(super) fn look(&mut self, at: Timestamp, sources: &[CloudVolume], longest_gap: SignedDuration) {
        if self.last_look == Some(at) {
            return;
        }
        let is_gap = self.last_look.is_some_and(|last| at.duration_since(last) > longest_gap);
        self.spans.retain(|id, _| !is_gap && sources.iter().any(|volume| volume.id == *id));
        let last_look = self.last_look.replace(at);
        for volume in sources.iter().filter(|volume| volume.is_free()) {
            let span = self.spans.entry(volume.id.clone()).or_insert(FreeSpan { since: at, until: at });
            if Some(span.until) == last_look {
                span.until = at;
            } else {
                *span = FreeSpan { since: at, until: at };
            }
        }
    }

    /// The last span of each volume.
    pub(super) fn spans(&self) -> BTreeMap<VolumeId, FreeSpan> {
        self.spans.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Attachment, AttachmentState, GiB, VolumeSettings, VolumeState};

    const GAP: SignedDuration = SignedDuration::from_secs(90);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("the second is in range")
    }

    fn source(is_free: bool) -> [CloudVolume; 1] {
        let attachment = Attachment { instance: "i-1".into(), device: "/dev/xvdba".to_owned(), state: AttachmentState::Attached };
        let volume = CloudVolume {
            id: "vol-1".into(),
            state: if is_free { VolumeState::Available } else { VolumeState::InUse },
            zone: "a".into(),
            size: GiB(1),
            settings: VolumeSettings::default(),
            snapshot: None,
            tags: BTreeMap::new(),
            attachments: if is_free { Vec::new() } else { vec![attachment] },
        };
        [volume]
    }

    fn after(looks: &[(i64, bool)]) -> Option<(i64, i64)> {
        let mut uses = SourceUse::default();
        for (second, is_free) in looks {
            uses.look(at(*second), &source(*is_free), GAP);
        }
        let seconds = |time: Timestamp| time.duration_since(at(0)).as_secs();
        uses.spans().get(&VolumeId::new("vol-1")).copied().map(|span| (seconds(span.since), seconds(span.until)))
    }

    #[test]
    fn a_span_lasts_as_long_as_each_look_finds_the_volume_free() {
        assert_eq!(after(&[(0, true)]), Some((0, 0)));
        assert_eq!(after(&[(0, true), (30, true), (30, true), (60, true)]), Some((0, 60)));
        assert_eq!(after(&[(0, false), (30, true), (60, true)]), Some((30, 60)));
        assert_eq!(after(&[(0, true), (30, true), (60, false)]), Some((0, 30)), "the last span is remembered");
        assert_eq!(after(&[(0, true), (30, false), (60, true), (90, true)]), Some((60, 90)));
        assert_eq!(after(&[(0, false)]), None);
    }

    #[test]
    fn a_gap_between_two_looks_ends_all_that_was_known() {
        assert_eq!(after(&[(0, true), (91, true)]), Some((91, 91)));
        assert_eq!(after(&[(0, true), (91, false)]), None);
    }
}
