"""Volumes: what a creation gives, what a describe shows, and which requests are refused."""

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
        self.assertNotIn("Attachments", made, "CreateVolume does not return them")
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


class Modification(Contract):
    def test_a_volume_grows_and_is_not_modified_again_before_that_is_complete(self):
        volume = self.volume()
        asked = self.ec2.modify_volume(VolumeId=volume, Size=8, Iops=4000)["VolumeModification"]
        self.assertEqual((asked["OriginalSize"], asked["TargetSize"], asked["TargetIops"]), (1, 8, 4000))
        seen = self.ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]
        self.assertEqual((seen["ModificationState"], seen["Progress"]), ("completed", 100))
        self.assertEqual((self.seen(volume)["Size"], self.seen(volume)["Iops"]), (8, 4000))

    def test_a_volume_does_not_shrink(self):
        volume = self.volume(Size=4)
        self.refused("InvalidParameterValue", self.ec2.modify_volume, VolumeId=volume, Size=3)
        self.refused("InvalidVolumeModification.NotFound", self.ec2.describe_volumes_modifications, VolumeIds=[volume])


class SlowModification(Contract):
    profile = "aws"

    def test_a_modification_goes_through_its_states(self):
        volume = self.ec2.create_volume(Size=1, VolumeType="gp3", AvailabilityZone=ZONE)["VolumeId"]
        self.simulator.pass_time(600)
        self.assertEqual(self.ec2.modify_volume(VolumeId=volume, Size=2)["VolumeModification"]["ModificationState"], "modifying")
        self.refused("IncorrectModificationState", self.ec2.modify_volume, VolumeId=volume, Size=3)
        states = []
        for _ in range(200):
            state = self.ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]["ModificationState"]
            states += [state] if states[-1:] != [state] else []
            if state == "completed":
                break
            self.simulator.pass_time(10 if state == "optimizing" else 0.2)
        self.assertEqual(states, ["modifying", "optimizing", "completed"])


class Copies(Contract):
    def test_a_copy_has_the_zone_of_its_source_and_tags_of_its_own(self):
        tags = [{"ResourceType": "volume", "Tags": [{"Key": "owner", "Value": "source"}]}]
        source = self.volume(Size=4, TagSpecifications=tags)
        copy = self.ec2.copy_volumes(SourceVolumeId=source, VolumeType="gp3")["Volumes"][0]
        self.assertEqual((copy["SourceVolumeId"], copy["Size"], copy["AvailabilityZone"]), (source, 4, ZONE))
        self.assertFalse(copy.get("Tags"), "tags are not inherited")
        self.assertEqual(self.ec2.copy_volumes(SourceVolumeId=source)["Volumes"][0]["VolumeType"], "gp2", "the default of the API")

    def test_a_token_finds_the_copy_again(self):
        wanted = {"SourceVolumeId": self.volume(), "ClientToken": "once"}
        first = self.ec2.copy_volumes(**wanted)["Volumes"][0]["VolumeId"]
        self.assertEqual(self.ec2.copy_volumes(**wanted)["Volumes"][0]["VolumeId"], first)
        self.refused("IdempotentParameterMismatch", self.ec2.copy_volumes, **wanted | {"Size": 9})


class SlowCopies(Contract):
    profile = "aws"

    def test_a_source_is_copied_again_only_when_its_last_copy_is_initialized(self):
        source = self.ec2.create_volume(Size=1, VolumeType="gp3", AvailabilityZone=ZONE)["VolumeId"]
        self.simulator.pass_time(600)
        copy = self.ec2.copy_volumes(SourceVolumeId=source)["Volumes"][0]["VolumeId"]
        self.refused("ConcurrentCopyVolumeLimitExceeded", self.ec2.copy_volumes, SourceVolumeId=source)
        self.simulator.pass_time(3600)
        status = self.ec2.describe_volume_status(VolumeIds=[copy])["VolumeStatuses"][0]["InitializationStatusDetails"]
        self.assertEqual((status["InitializationType"], status["Progress"]), ("volume-copy", 100))
        self.ec2.copy_volumes(SourceVolumeId=source)


class Attributes(Contract):
    def test_attributes_are_told_one_at_a_time(self):
        volume = self.volume()
        told = self.ec2.describe_volume_attribute(VolumeId=volume, Attribute="autoEnableIO")
        self.assertEqual((told["VolumeId"], told["AutoEnableIO"]), (volume, {"Value": False}))
        self.assertEqual(self.ec2.describe_volume_attribute(VolumeId=volume, Attribute="productCodes")["ProductCodes"], [])
