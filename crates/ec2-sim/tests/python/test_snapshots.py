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


class Sets(Contract):
    def test_one_call_takes_a_snapshot_of_each_volume_of_an_instance(self):
        instance, first, second, left_out = self.instance(), self.volume(), self.volume(), self.volume()
        for number, volume in enumerate((first, second, left_out)):
            self.attach(volume, instance, f"/dev/xvdb{'abc'[number]}")
        self.ec2.create_tags(Resources=[first], Tags=[{"Key": "role", "Value": "log"}])
        specification = {"InstanceId": instance, "ExcludeDataVolumeIds": [left_out]}
        taken = self.ec2.create_snapshots(InstanceSpecification=specification, CopyTagsFromSource="volume")["Snapshots"]
        self.assertEqual({one["VolumeId"] for one in taken}, {first, second})
        tags = {one["VolumeId"]: one.get("Tags") for one in taken}
        self.assertEqual(tags[first], [{"Key": "role", "Value": "log"}])


class Copies(Contract):
    def test_a_copy_is_a_snapshot_of_its_own(self):
        source = self.snapshot(self.volume(Size=4))
        copy = self.ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source, Description="copy")["SnapshotId"]
        self.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[copy], WaiterConfig=QUICKLY)
        self.ec2.delete_snapshot(SnapshotId=source)
        self.assertEqual(self.seen(self.volume(SnapshotId=copy, Size=4))["Size"], 4)


class Locks(Contract):
    def test_a_locked_snapshot_is_not_deleted_before_it_is_unlocked(self):
        snapshot = self.snapshot()
        locked = self.ec2.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=1)
        self.assertEqual(locked["LockState"], "governance")
        found = self.ec2.describe_locked_snapshots(SnapshotIds=[snapshot])["Snapshots"]
        self.assertEqual([one["SnapshotId"] for one in found], [snapshot])
        with self.assertRaises(self.ec2.exceptions.ClientError):
            self.ec2.delete_snapshot(SnapshotId=snapshot)
        self.assertEqual(self.ec2.unlock_snapshot(SnapshotId=snapshot)["SnapshotId"], snapshot)
        self.ec2.delete_snapshot(SnapshotId=snapshot)

    def test_a_lock_ends_with_its_time(self):
        snapshot = self.snapshot()
        self.ec2.lock_snapshot(SnapshotId=snapshot, LockMode="compliance", LockDuration=1)
        with self.assertRaises(self.ec2.exceptions.ClientError):
            self.ec2.delete_snapshot(SnapshotId=snapshot)
        self.simulator.pass_time(2 * 86_400)
        self.ec2.delete_snapshot(SnapshotId=snapshot)


class FastRestores(Contract):
    def test_a_fast_restore_is_enabled_used_and_disabled(self):
        snapshot = self.snapshot()
        where = {"AvailabilityZones": [ZONE], "SourceSnapshotIds": [snapshot]}
        enabled = self.ec2.enable_fast_snapshot_restores(**where)
        self.assertEqual((enabled["Unsuccessful"], enabled["Successful"][0]["State"]), ([], "enabling"))
        seen = self.ec2.describe_fast_snapshot_restores(Filters=[{"Name": "snapshot-id", "Values": [snapshot]}])
        self.assertEqual(seen["FastSnapshotRestores"][0]["State"], "enabled")
        self.assertTrue(self.seen(self.volume(SnapshotId=snapshot))["FastRestored"])
        self.assertEqual(self.ec2.disable_fast_snapshot_restores(**where)["Successful"][0]["State"], "disabling")
