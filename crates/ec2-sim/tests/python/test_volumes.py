"""Volumes: what a creation gives, what a describe shows, and which requests are refused."""

import unittest

from simulator import NO_SNAPSHOT, NO_VOLUME, ZONE, Contract


class Creation(Contract):
    def test_a_gp3_volume_has_the_performance_of_the_type_and_the_tags_of_the_call(self):
        made = self.ec2.create_volume(
            Size=10,
            VolumeType="gp3",
            AvailabilityZone=ZONE,
            TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "pool", "Value": "web"}]}],
        )
        self.assertEqual((made["State"], made["Size"], made["Iops"], made["Throughput"]), ("creating", 10, 3000, 125))
        self.assertEqual(made["Tags"], [{"Key": "pool", "Value": "web"}])
        self.assertFalse(made["Encrypted"])
        seen = self.seen(made["VolumeId"])
        self.assertEqual((seen["State"], seen["AvailabilityZone"], seen["Attachments"]), ("available", ZONE, []))

    def test_the_type_is_gp2_when_the_call_names_none(self):
        made = self.ec2.create_volume(Size=100, AvailabilityZone=ZONE)
        self.assertEqual((made["VolumeType"], made["Iops"]), ("gp2", 300))

    def test_a_zone_can_be_named_by_its_id(self):
        made = self.ec2.create_volume(Size=1, AvailabilityZoneId="use1-az2")
        self.assertEqual(made["AvailabilityZone"], "us-east-1b")

    def test_a_volume_that_ec2_would_not_make_is_refused(self):
        gp3 = {"Size": 1, "VolumeType": "gp3", "AvailabilityZone": ZONE}
        table = [
            ("MissingParameter", {"VolumeType": "gp3", "AvailabilityZone": ZONE}),
            ("InvalidParameterValue", gp3 | {"AvailabilityZone": "us-east-1z"}),
            ("InvalidParameterValue", gp3 | {"Size": 0}),
            ("InvalidParameterValue", gp3 | {"Size": 65_537}),
            ("InvalidParameterValue", gp3 | {"Iops": 2**31 - 1}),
            ("InvalidParameterValue", gp3 | {"Throughput": 9_999}),
            ("InvalidParameterCombination", gp3 | {"VolumeInitializationRate": 100}),
            ("InvalidParameterDependency", gp3 | {"KmsKeyId": "alias/key"}),
            ("InvalidSnapshot.NotFound", gp3 | {"SnapshotId": NO_SNAPSHOT}),
            ("MissingParameter", {"Size": 4, "VolumeType": "io2", "AvailabilityZone": ZONE}),
        ]
        for code, parameters in table:
            with self.subTest(code=code, parameters=parameters):
                self.refused(code, self.ec2.create_volume, **parameters)
        self.assertEqual(self.ec2.describe_volumes()["Volumes"], [], "a refused call makes nothing")

    def test_a_token_finds_the_volume_again_and_refuses_another_one(self):
        wanted = {"Size": 1, "AvailabilityZone": ZONE, "ClientToken": "once"}
        first = self.ec2.create_volume(**wanted)["VolumeId"]
        self.assertEqual(self.ec2.create_volume(**wanted)["VolumeId"], first)
        self.refused("IdempotentParameterMismatch", self.ec2.create_volume, **wanted | {"Size": 2})
        self.assertEqual(len(self.ec2.describe_volumes()["Volumes"]), 1)


class Describing(Contract):
    def test_filters_and_wildcards_choose(self):
        blue = self.volume(TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "colour", "Value": "sky blue"}]}])
        red = self.volume(Size=4, TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "colour", "Value": "red"}]}])
        table = [
            ("tag:colour", ["*blue"], [blue]),
            ("tag:colour", ["r?d"], [red]),
            ("tag-key", ["colour"], [blue, red]),
            ("size", ["4"], [red]),
            ("status", ["in-use"], []),
            ("availability-zone", [ZONE], [blue, red]),
            ("volume-id", [NO_VOLUME, blue], [blue]),
            ("volume-type", ["gp3", "gp2"], [blue, red]),
            ("encrypted", ["true"], []),
        ]
        for name, values, expected in table:
            with self.subTest(name=name, values=values):
                found = self.ec2.describe_volumes(Filters=[{"Name": name, "Values": values}])["Volumes"]
                self.assertEqual({one["VolumeId"] for one in found}, set(expected))

    def test_one_unknown_id_fails_the_whole_list_and_is_named(self):
        volume = self.volume()
        message = self.refused("InvalidVolume.NotFound", self.ec2.describe_volumes, VolumeIds=[volume, NO_VOLUME])
        self.assertIn(NO_VOLUME, message)
        self.assertNotIn(volume, message)

    def test_what_ec2_cannot_read_is_refused(self):
        self.refused("InvalidParameterValue", self.ec2.describe_volumes, Filters=[{"Name": "colour", "Values": ["red"]}])
        self.refused("InvalidParameterValue", self.ec2.describe_volumes, VolumeIds=["volume-1"])

    def test_a_restored_volume_says_how_far_its_initialization_is(self):
        empty, snapshot = self.volume(), self.snapshot()
        restored = self.volume(SnapshotId=snapshot)
        statuses = {one["VolumeId"]: one for one in self.ec2.describe_volume_status(VolumeIds=[empty, restored])["VolumeStatuses"]}
        self.assertEqual(statuses[restored]["InitializationStatusDetails"]["Progress"], 100)
        self.assertNotIn("InitializationStatusDetails", statuses[empty])
        details = {one["Name"]: one["Status"] for one in statuses[restored]["VolumeStatus"]["Details"]}
        self.assertEqual(details["initialization-state"], "completed")


class Deletion(Contract):
    def test_a_deleted_volume_is_gone_and_an_unknown_one_is_refused(self):
        volume = self.volume()
        self.ec2.delete_volume(VolumeId=volume)
        self.refused("InvalidVolume.NotFound", self.ec2.describe_volumes, VolumeIds=[volume])
        self.refused("InvalidVolume.NotFound", self.ec2.delete_volume, VolumeId=NO_VOLUME)

    def test_an_attached_volume_cannot_be_deleted(self):
        volume, instance = self.volume(), self.instance()
        self.attach(volume, instance)
        self.refused("VolumeInUse", self.ec2.delete_volume, VolumeId=volume)


if __name__ == "__main__":
    unittest.main()
