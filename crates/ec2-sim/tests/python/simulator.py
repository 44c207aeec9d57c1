"""A simulator for each test, a boto3 client to it, and the few calls that most tests begin with."""

import json
import os
import subprocess
import tempfile
import unittest
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

ZONE = "us-east-1a"
DEVICE = "/dev/xvdba"
#: An id of the right form that nothing has.
NO_VOLUME = "vol-0123456789abcdef0"
NO_SNAPSHOT = "snap-0123456789abcdef0"
NO_INSTANCE = "i-0123456789abcdef0"
#: The waiters of the SDK look every 15 s; here a change takes a tenth of a second.
QUICKLY = {"Delay": 0.1, "MaxAttempts": 200}
#: How long a simulator may take to say that it listens, or to end, in seconds.
PATIENCE = 20

#: One session for all tests: the model of EC2 is large, and is read once.
SESSION = boto3.session.Session(region_name="us-east-1")


class Simulator:
    """A running `ec2-sim serve` on free ports, with a data folder of its own."""

    def __init__(self, profile: str, *arguments: str):
        self.folder = tempfile.TemporaryDirectory(prefix="ec2-sim-python-")
        command = [os.environ["EC2_SIM"], "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        command += ["--data-dir", self.folder.name, "--no-data", "--profile", profile, "--log", "error", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.endpoint = self.told("listening on ")
        self.admin_endpoint = self.told("admin on ")

    def told(self, what: str) -> str:
        """The word that follows in the next line that the program prints."""
        line = self.process.stdout.readline()
        if what not in line:
            self.stop()
            raise RuntimeError(f"ec2-sim said {line!r} and not {what!r}")
        return line.split(what)[1].split()[0]

    def client(self, key=("any", "any"), **more):
        """A client that tells what it is answered: it does not try again by itself."""
        settings = botocore.config.Config(**{"retries": {"total_max_attempts": 1}} | more)
        secrets = {"aws_access_key_id": key[0], "aws_secret_access_key": key[1]}
        return SESSION.client("ec2", endpoint_url=self.endpoint, config=settings, **secrets)

    def admin(self, path: str, body=None) -> dict:
        """Asks the admin interface; with a body it changes something."""
        sent = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.admin_endpoint}/_sim/{path}", data=sent, timeout=PATIENCE) as answer:
            return json.load(answer)

    def pass_time(self, seconds: float):
        """Puts the clock of the account forward."""
        self.admin("clock", {"advance_millis": int(seconds * 1000)})

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.folder.cleanup()


class Contract(unittest.TestCase):
    """A test with a simulator of its own. A class may choose another `profile`, or further `arguments`."""

    profile = "instant"
    arguments: tuple[str, ...] = ()

    def setUp(self):
        self.simulator = Simulator(self.profile, *self.arguments)
        self.addCleanup(self.simulator.stop)
        self.ec2 = self.simulator.client()
        self.addCleanup(self.ec2.close)

    def instance(self, instance_type="m7i.large", zone=ZONE) -> str:
        """A running instance."""
        made = self.ec2.run_instances(MinCount=1, MaxCount=1, InstanceType=instance_type, Placement={"AvailabilityZone": zone})
        identifier = made["Instances"][0]["InstanceId"]
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[identifier], WaiterConfig=QUICKLY)
        return identifier

    def volume(self, **more) -> str:
        """An available volume of 1 GiB."""
        wanted = {"Size": 1, "VolumeType": "gp3", "AvailabilityZone": ZONE} | more
        identifier = self.ec2.create_volume(**wanted)["VolumeId"]
        self.ec2.get_waiter("volume_available").wait(VolumeIds=[identifier], WaiterConfig=QUICKLY)
        return identifier

    def snapshot(self, volume=None, **more) -> str:
        """A completed snapshot, of a volume of its own when none is given."""
        identifier = self.ec2.create_snapshot(VolumeId=volume or self.volume(), **more)["SnapshotId"]
        self.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[identifier], WaiterConfig=QUICKLY)
        return identifier

    def attach(self, volume, instance, device=DEVICE):
        """Attaches, and waits until the volume says so."""
        self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
        self.ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig=QUICKLY)

    def seen(self, volume) -> dict:
        """The volume as DescribeVolumes shows it now."""
        return self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]

    def refused(self, code, call, /, status=400, **parameters) -> str:
        """Asserts that the call is refused with this code and HTTP status, and returns the message."""
        with self.assertRaises(botocore.exceptions.ClientError, msg=f"{call.__name__} {parameters} is not refused") as raised:
            call(**parameters)
        answer = raised.exception.response
        found = (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"])
        self.assertEqual(found, (code, status), f"{call.__name__} {parameters}: {answer['Error']['Message']}")
        self.assertRegex(answer["ResponseMetadata"]["RequestId"], r"^[0-9a-f-]{36}$")
        return answer["Error"]["Message"]
