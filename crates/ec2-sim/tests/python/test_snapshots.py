"""Snapshots: their states, what restores them, and the limits of their making."""

from simulator import NO_SNAPSHOT, NO_VOLUME, QUICKLY, ZONE, Contract


class Snapshots(Contract):
    profile = "fast"

    def test_a_snapshot_is_pending_and_then_completed(self):
        taken = self.ec2.create_snapshot(VolumeId=self.volume(Size=8), Description="first")
        self.assertEqual((taken["State"], taken["VolumeSize"], taken["Description"]), ("pending", 8, "first"))
        self.refused("IncorrectState", self.ec2.create_volume, SnapshotId=taken["SnapshotId"], AvailabilityZone=ZONE)
        self.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[taken["SnapshotId"]], WaiterConfig=QUICKLY)
        seen = self.ec2.describe_snapshots(SnapshotIds=[taken["SnapshotId"]])["Snapshots"][0]
        self.assertEqual((seen["State"], seen["Progress"]), ("completed", "100%"))

    def test_a_volume_is_restored_with_the_size_of_its_snapshot(self):
        snapshot = self.snapshot(self.volume(Size=8))
        restored = self.volume(SnapshotId=snapshot, Size=8)
        self.assertEqual((self.seen(restored)["SnapshotId"], self.seen(restored)["Size"]), (snapshot, 8))
        self.refused("InvalidParameterValue", self.ec2.create_volume, SnapshotId=snapshot, Size=7, AvailabilityZone=ZONE)

    def test_two_snapshots_of_a_volume_are_fifteen_seconds_apart(self):
        volume = self.volume()
        self.ec2.create_snapshot(VolumeId=volume)
        self.refused("SnapshotCreationPerVolumeRateExceeded", self.ec2.create_snapshot, VolumeId=volume)

    def test_owners_filters_and_tags_find_a_snapshot(self):
        tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "generation", "Value": "7"}]}]
        volume = self.volume()
        snapshot, _ = self.snapshot(volume, TagSpecifications=tags), self.snapshot()
        table = [
            {"OwnerIds": ["self"], "Filters": [{"Name": "tag:generation", "Values": ["7"]}]},
            {"Filters": [{"Name": "volume-id", "Values": [volume]}, {"Name": "status", "Values": ["completed"]}]},
            {"SnapshotIds": [snapshot]},
        ]
        for parameters in table:
            with self.subTest(parameters=parameters):
                found = self.ec2.describe_snapshots(**parameters)["Snapshots"]
                self.assertEqual([one["SnapshotId"] for one in found], [snapshot])
        self.assertEqual(self.ec2.describe_snapshots(OwnerIds=["amazon"])["Snapshots"], [])

    def test_a_deleted_snapshot_is_gone_and_unknown_ids_are_refused(self):
        snapshot = self.snapshot()
        self.ec2.delete_snapshot(SnapshotId=snapshot)
        self.refused("InvalidSnapshot.NotFound", self.ec2.describe_snapshots, SnapshotIds=[snapshot])
        self.refused("InvalidSnapshot.NotFound", self.ec2.delete_snapshot, SnapshotId=NO_SNAPSHOT)
        self.refused("InvalidVolume.NotFound", self.ec2.create_snapshot, VolumeId=NO_VOLUME)
