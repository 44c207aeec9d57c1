//! What a checkpoint says is durable is there after a power cut.

use crate::follower::Follower;
use crate::stage::images::{Image, ImageKind, Shutdown, shut_down};
use std::fs;
use treesync::publish::{PublishOptions, Publisher};

#[test]
fn what_was_there_at_a_checkpoint_outlives_a_power_cut() {
    for (kind, size_mib) in [(ImageKind::Ext4, 64), (ImageKind::Xfs, 300)] {
        let Some(image) = Image::new(kind, size_mib, &[]) else { return };
        let at = |name: &str| image.path().join(name);
        let publisher = Publisher::start(&image.path(), PublishOptions::default()).unwrap();
        publisher.settle().unwrap();
        // Nobody syncs these but the checkpoint.
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("folder/small"), "a few bytes").unwrap();
        fs::write(at("large"), vec![7; 3_000_000]).unwrap();
        let told = publisher.checkpoint().unwrap();
        shut_down(&image.path(), Shutdown::DropJournal);
        drop(publisher);
        image.remount();

        assert_eq!(fs::read(at("folder/small")).unwrap(), b"a few bytes", "{kind:?}");
        assert!(fs::read(at("large")).unwrap() == vec![7; 3_000_000], "{kind:?}: the large file is another one");
        let publisher = Publisher::start(&image.path(), PublishOptions::default()).unwrap();
        assert_eq!(publisher.position(), told, "{kind:?}: the index has what was told");
        let mut follower = Follower::new(&publisher, Some(told), crate::copy_model::CopyModel::default());
        assert_eq!((follower.reach(told), follower.manifests), (told, 0), "{kind:?}: the source is what the index says");
        drop((follower, publisher));
    }
}
