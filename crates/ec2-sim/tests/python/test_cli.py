"""The AWS CLI as people type it: a volume from creation over a snapshot to deletion."""

import json
import os
import subprocess

from simulator import DEVICE, NO_VOLUME, ZONE, Contract

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}


class Cli(Contract):
    def aws(self, *words) -> subprocess.CompletedProcess:
        variables = os.environ | CREDENTIALS | {"AWS_ENDPOINT_URL_EC2": self.simulator.endpoint, "AWS_MAX_ATTEMPTS": "1"}
        return subprocess.run(["aws", "ec2", *words, "--output", "json"], env=variables, capture_output=True, text=True, check=False)

    def done(self, *words) -> dict:
        """What a command that must succeed prints."""
        ended = self.aws(*words)
        self.assertEqual(ended.returncode, 0, f"{words}: {ended.stderr}")
        return json.loads(ended.stdout) if ended.stdout.strip() else {}

    def test_a_volume_is_created_attached_snapshotted_restored_detached_and_deleted(self):
        tags = "ResourceType=volume,Tags=[{Key=owner,Value=mine}]"
        launched = self.done("run-instances", "--image-id", "ami-any", "--instance-type", "m7i.large", "--placement", f"AvailabilityZone={ZONE}")
        instance = launched["Instances"][0]["InstanceId"]
        self.done("wait", "instance-running", "--instance-ids", instance)
        create = ["create-volume", "--availability-zone", ZONE, "--volume-type", "gp3"]
        volume = self.done(*create, "--size", "1", "--tag-specifications", tags)["VolumeId"]
        self.done("wait", "volume-available", "--volume-ids", volume)
        self.done("attach-volume", "--volume-id", volume, "--instance-id", instance, "--device", DEVICE)
        self.done("wait", "volume-in-use", "--volume-ids", volume)
        snapshot = self.done("create-snapshot", "--volume-id", volume, "--description", "by hand")["SnapshotId"]
        self.done("wait", "snapshot-completed", "--snapshot-ids", snapshot)
        restored = self.done(*create, "--snapshot-id", snapshot)
        self.assertEqual((restored["SnapshotId"], restored["Size"]), (snapshot, 1))
        found = self.done("describe-volumes", "--filters", "Name=tag:owner,Values=mine")["Volumes"]
        self.assertEqual([one["VolumeId"] for one in found], [volume])
        self.done("detach-volume", "--volume-id", volume)
        for gone in (volume, restored["VolumeId"]):
            self.done("wait", "volume-available", "--volume-ids", gone)
            self.done("delete-volume", "--volume-id", gone)
            self.done("wait", "volume-deleted", "--volume-ids", gone)
        self.done("delete-snapshot", "--snapshot-id", snapshot)
        self.assertEqual(self.done("describe-volumes")["Volumes"], [])

    def test_pages_are_put_together(self):
        for _ in range(7):
            self.volume()
        found = self.done("describe-volumes", "--page-size", "5", "--query", "Volumes[].VolumeId")
        self.assertEqual(len(set(found)), 7)

    def test_a_refusal_names_its_code(self):
        ended = self.aws("delete-volume", "--volume-id", NO_VOLUME)
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("(InvalidVolume.NotFound) when calling the DeleteVolume operation", ended.stderr)
