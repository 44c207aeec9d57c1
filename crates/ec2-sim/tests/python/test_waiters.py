"""The waiters of boto3, on things that take their time."""

import botocore.exceptions

from simulator import DEVICE, NO_SNAPSHOT, QUICKLY, ZONE, Contract


class Waiters(Contract):
    profile = "fast"

    def wait(self, name, **parameters):
        self.ec2.get_waiter(name).wait(WaiterConfig=QUICKLY, **parameters)

    def test_a_volume_becomes_available_in_use_available_and_deleted(self):
        instance = self.instance()
        volume = self.ec2.create_volume(Size=1, AvailabilityZone=ZONE)["VolumeId"]
        self.wait("volume_available", VolumeIds=[volume])
        self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=DEVICE)
        self.wait("volume_in_use", VolumeIds=[volume])
        self.ec2.detach_volume(VolumeId=volume)
        self.wait("volume_available", VolumeIds=[volume])
        self.ec2.delete_volume(VolumeId=volume)
        self.wait("volume_deleted", VolumeIds=[volume])

    def test_a_snapshot_is_completed(self):
        snapshot = self.ec2.create_snapshot(VolumeId=self.volume())["SnapshotId"]
        self.wait("snapshot_completed", SnapshotIds=[snapshot])

    def test_an_instance_exists_runs_stops_and_ends(self):
        instance = self.ec2.run_instances(MinCount=1, MaxCount=1, InstanceType="m7i.large")["Instances"][0]["InstanceId"]
        for waiter in ("instance_exists", "instance_running"):
            self.wait(waiter, InstanceIds=[instance])
        self.ec2.stop_instances(InstanceIds=[instance])
        self.wait("instance_stopped", InstanceIds=[instance])
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.wait("instance_terminated", InstanceIds=[instance])

    def test_a_waiter_ends_when_what_it_waits_for_is_refused(self):
        with self.assertRaises(botocore.exceptions.WaiterError) as raised:
            self.wait("snapshot_completed", SnapshotIds=[NO_SNAPSHOT])
        self.assertIn("InvalidSnapshot.NotFound", str(raised.exception))
