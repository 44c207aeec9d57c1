"""What every call has in common: dry runs, unknown actions and parameters, request ids."""

from simulator import DEVICE, ZONE, Contract


class DryRuns(Contract):
    def test_every_call_honours_dry_run(self):
        instance, free, attached, snapshot = self.instance(), self.volume(), self.volume(), self.snapshot()
        self.attach(attached, instance)
        calls = {
            "copy_snapshot": {"SourceRegion": "us-east-1", "SourceSnapshotId": snapshot},
            "copy_volumes": {"SourceVolumeId": free},
            "create_snapshots": {"InstanceSpecification": {"InstanceId": instance}},
            "describe_fast_snapshot_restores": {},
            "describe_locked_snapshots": {},
            "describe_volume_attribute": {"VolumeId": free, "Attribute": "autoEnableIO"},
            "describe_volumes_modifications": {},
            "disable_fast_snapshot_restores": {"AvailabilityZones": [ZONE], "SourceSnapshotIds": [snapshot]},
            "enable_fast_snapshot_restores": {"AvailabilityZones": [ZONE], "SourceSnapshotIds": [snapshot]},
            "lock_snapshot": {"SnapshotId": snapshot, "LockMode": "governance", "LockDuration": 1},
            "modify_volume": {"VolumeId": free, "Size": 2},
            "attach_volume": {"VolumeId": free, "InstanceId": instance, "Device": "/dev/xvdbb"},
            "create_snapshot": {"VolumeId": free},
            "create_tags": {"Resources": [free], "Tags": [{"Key": "a", "Value": "b"}]},
            "create_volume": {"Size": 1, "AvailabilityZone": ZONE},
            "delete_snapshot": {"SnapshotId": snapshot},
            "delete_tags": {"Resources": [free]},
            "delete_volume": {"VolumeId": free},
            "describe_availability_zones": {},
            "describe_instance_types": {},
            "describe_instances": {},
            "describe_regions": {},
            "describe_snapshots": {},
            "describe_tags": {},
            "describe_volume_status": {},
            "describe_volumes": {},
            "detach_volume": {"VolumeId": attached},
            "run_instances": {"MinCount": 1, "MaxCount": 1},
            "start_instances": {"InstanceIds": [instance]},
            "stop_instances": {"InstanceIds": [instance]},
            "terminate_instances": {"InstanceIds": [instance]},
        }
        for name, parameters in calls.items():
            with self.subTest(call=name):
                self.refused("DryRunOperation", getattr(self.ec2, name), status=412, DryRun=True, **parameters)
        self.assertEqual(self.seen(free)["State"], "available")
        self.assertEqual(self.seen(attached)["Attachments"][0]["Device"], DEVICE)
        self.assertEqual(len(self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]), 1)

    def test_a_dry_run_of_what_would_be_refused_is_refused_for_its_own_reason(self):
        self.refused("InvalidParameterValue", self.ec2.create_volume, Size=0, AvailabilityZone=ZONE, DryRun=True)


class Protocol(Contract):
    def test_an_action_that_is_not_simulated_is_invalid_and_told_in_xml(self):
        self.refused("InvalidAction", self.ec2.describe_vpcs)
        self.refused("InvalidAction", self.ec2.describe_key_pairs)

    def test_text_of_any_script_comes_back_as_it_was_sent(self):
        texts = ["a&b<c>\"d\"'e'", "héllo wörld", "日本語", "🙂", " leading and trailing "]
        for text in texts:
            with self.subTest(text=text):
                specification = [{"ResourceType": "volume", "Tags": [{"Key": "text", "Value": text}]}]
                self.assertEqual(self.seen(self.volume(TagSpecifications=specification))["Tags"][0]["Value"], text)

    def test_request_ids_differ(self):
        ids = {self.ec2.describe_volumes()["ResponseMetadata"]["RequestId"] for _ in range(10)}
        self.assertEqual(len(ids), 10)
