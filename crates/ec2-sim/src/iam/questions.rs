//! What a call asks of IAM: one question for each resource that it touches or makes.
//!
//! Which resources and keys there are is from the Service Authorization Reference,
//! "Actions, resources, and condition keys for Amazon EC2"; that a call which tags what it
//! makes needs `ec2:CreateTags` besides, is from "Grant permission to tag Amazon EC2
//! resources during creation" (EC2 User Guide). Left out: the images, networks, subnets and
//! security groups of `RunInstances`, which do not exist here, and KMS keys.

use super::{AccessKey, Context};
use crate::world::actions::ActionSpec;
use crate::world::{ACCOUNT_ID, Action, CreateVolume, Instance, Kind, Snapshot, Tag, TagSpecification, Volume, World, time};

/// May this be done to that?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// Such as `ec2:CreateVolume`.
    pub(super) action: String,
    /// An ARN, or `*`.
    pub(super) resource: String,
    pub(super) context: Context,
}

/// The questions of a call, all of which must be allowed.
pub(super) fn of(key: &AccessKey, world: &World, action: &Action) -> Vec<Question> {
    let asker = Asker { key, world, action };
    let spec = ActionSpec::find(action.name());
    if spec.is_none_or(|spec| spec.resources.is_empty()) {
        return vec![asker.question("*".to_owned(), asker.context())];
    }
    let mut questions: Vec<Question> = touched(world, action).iter().map(|id| asker.about(id)).collect();
    for kind in spec.map_or(&[][..], |spec| spec.creates) {
        questions.extend(asker.about_new(*kind));
    }
    if questions.is_empty() {
        // A call that names nothing is refused by EC2 itself, after this.
        questions.push(asker.question("*".to_owned(), asker.context()));
    }
    questions
}

struct Asker<'a> {
    key: &'a AccessKey,
    world: &'a World,
    action: &'a Action,
}

impl Asker<'_> {
    fn question(&self, resource: String, context: Context) -> Question {
        Question { action: format!("ec2:{}", self.action.name()), resource, context }
    }

    /// What every request says.
    fn context(&self) -> Context {
        let region = &self.world.settings().region;
        let context = Context::default()
            .with("aws:PrincipalAccount", ACCOUNT_ID)
            .with("aws:PrincipalArn", self.key.arn())
            .with("aws:PrincipalType", "User")
            .with("aws:RequestedRegion", region)
            .with("aws:SecureTransport", "false")
            .with("aws:username", &self.key.user)
            .with("ec2:Region", region);
        self.key.principal_tags.iter().fold(context, |context, (key, value)| context.with(&format!("aws:PrincipalTag/{key}"), value))
    }

    /// The question about a resource that the call names. One that does not exist has no tags.
    fn about(&self, id: &str) -> Question {
        let mut context = self.context();
        if let Action::CreateTags(_) | Action::DeleteTags(_) = self.action {
            context = self.with_edited_tags(context);
        }
        let world = self.world;
        if let Some(volume) = world.volumes().get(id) {
            context = with_tags(with_volume(context, volume, world), volume.tags.iter());
        } else if let Some(snapshot) = world.snapshots().get(id) {
            context = with_tags(with_snapshot(context, snapshot, world), snapshot.tags.iter());
        } else if let Some(instance) = world.instances().get(id) {
            context = with_tags(with_instance(context, instance, world), instance.tags.iter());
        }
        let kind = Kind::ALL.into_iter().find(|kind| id.starts_with(kind.prefix()));
        let resource = kind.map_or_else(|| "*".to_owned(), |kind| arn(world, kind, id));
        self.question(resource, context)
    }

    fn with_edited_tags(&self, context: Context) -> Context {
        match self.action {
            Action::CreateTags(request) => with_request_tags(context, &request.tags),
            Action::DeleteTags(request) => request.tags.iter().fold(context, |context, (key, value)| {
                let context = context.with("aws:TagKeys", key);
                match value {
                    Some(value) => context.with(&format!("aws:RequestTag/{key}"), value),
                    None => context,
                }
            }),
            _ => context,
        }
    }

    /// The questions about what the call makes: may it, and may it tag it so?
    fn about_new(&self, kind: Kind) -> Vec<Question> {
        let tags = tags_of(self.action, kind);
        let resource = arn(self.world, kind, "*");
        let mut context = with_request_tags(self.context(), &tags);
        if let (Action::CreateVolume(request), Kind::Volume) = (self.action, kind) {
            context = with_request(context, request, self.world);
        }
        let mut questions = Vec::new();
        if !tags.is_empty() {
            let context = context.clone().with("ec2:CreateAction", self.action.name());
            questions.push(Question { action: "ec2:CreateTags".to_owned(), resource: resource.clone(), context });
        }
        // A launch makes a volume only where it says something about one: there are no root volumes here.
        let made = !(matches!(self.action, Action::RunInstances(_)) && kind == Kind::Volume && tags.is_empty());
        if made {
            questions.insert(0, self.question(resource, context));
        }
        questions
    }
}

/// The ids that a call touches. Who detaches touches the instance, named or not, and who takes
/// snapshots of an instance touches its volumes.
fn touched(world: &World, action: &Action) -> Vec<String> {
    let mut ids: Vec<String> = action.resource_ids().into_iter().map(str::to_owned).collect();
    if let Action::CreateSnapshots(request) = action {
        let taken = |volume: &&Volume| {
            let attached = volume.attachment.as_ref().is_some_and(|attachment| attachment.instance_id == request.instance_id);
            attached && !request.exclude_volumes.contains(&volume.id)
        };
        ids.extend(world.volumes().values().filter(taken).map(|volume| volume.id.clone()));
    }
    if let Action::DetachVolume(request) = action
        && request.instance_id.is_none()
        && let Some(attachment) = world.volumes().get(&request.volume_id).and_then(|volume| volume.attachment.as_ref())
    {
        ids.push(attachment.instance_id.clone());
    }
    ids
}

fn tags_of(action: &Action, kind: Kind) -> Vec<Tag> {
    let of_kind = |specification: &&TagSpecification| specification.resource_type == kind.resource_type();
    action.tag_specifications().iter().filter(of_kind).flat_map(|specification| specification.tags.clone()).collect()
}

/// `arn:aws:ec2:REGION:ACCOUNT:volume/vol-…`; the ARN of a snapshot names no account.
fn arn(world: &World, kind: Kind, id: &str) -> String {
    let account = if kind == Kind::Snapshot { "" } else { ACCOUNT_ID };
    format!("arn:aws:ec2:{}:{account}:{}/{id}", world.settings().region, kind.resource_type())
}

fn with_tags<'a>(context: Context, tags: impl Iterator<Item = (&'a String, &'a String)>) -> Context {
    tags.fold(context, |context, (key, value)| {
        context.with(&format!("aws:ResourceTag/{key}"), value).with(&format!("ec2:ResourceTag/{key}"), value)
    })
}

fn with_request_tags(context: Context, tags: &[Tag]) -> Context {
    tags.iter().fold(context, |context, tag| context.with(&format!("aws:RequestTag/{}", tag.key), &tag.value).with("aws:TagKeys", &tag.key))
}

fn optional(context: Context, key: &str, value: Option<impl ToString>) -> Context {
    match value {
        Some(value) => context.with(key, value.to_string()),
        None => context,
    }
}

fn with_volume(context: Context, volume: &Volume, world: &World) -> Context {
    let context = context
        .with("aws:ResourceAccount", ACCOUNT_ID)
        .with("ec2:AvailabilityZone", &volume.zone)
        .with("ec2:Encrypted", volume.encrypted.to_string())
        .with("ec2:VolumeID", &volume.id)
        .with("ec2:VolumeSize", volume.size_gib.to_string())
        .with("ec2:VolumeType", volume.volume_type.name());
    let context = optional(context, "ec2:VolumeIops", volume.iops);
    let context = optional(context, "ec2:VolumeThroughput", volume.throughput);
    optional(context, "ec2:ParentSnapshot", volume.snapshot_id.as_ref().map(|id| arn(world, Kind::Snapshot, id)))
}

fn with_snapshot(context: Context, snapshot: &Snapshot, world: &World) -> Context {
    context
        .with("aws:ResourceAccount", ACCOUNT_ID)
        .with("ec2:Encrypted", snapshot.encrypted.to_string())
        .with("ec2:Owner", ACCOUNT_ID)
        .with("ec2:ParentVolume", arn(world, Kind::Volume, &snapshot.volume_id))
        .with("ec2:SnapshotID", &snapshot.id)
        .with("ec2:SnapshotTime", time(snapshot.started))
        .with("ec2:VolumeSize", snapshot.volume_size_gib.to_string())
}

fn with_instance(context: Context, instance: &Instance, world: &World) -> Context {
    context
        .with("aws:ResourceAccount", ACCOUNT_ID)
        .with("ec2:AvailabilityZone", &instance.zone)
        .with("ec2:InstanceID", arn(world, Kind::Instance, &instance.id))
        .with("ec2:InstanceType", &instance.instance_type)
}

fn with_request(context: Context, request: &CreateVolume, world: &World) -> Context {
    let context = optional(context, "ec2:AvailabilityZone", request.zone.as_ref());
    let context = optional(context, "ec2:VolumeSize", request.size_gib);
    let context = optional(context, "ec2:VolumeIops", request.iops);
    let context = optional(context, "ec2:VolumeThroughput", request.throughput);
    let context = optional(context, "ec2:ParentSnapshot", request.snapshot_id.as_ref().map(|id| arn(world, Kind::Snapshot, id)));
    context
        .with("ec2:Encrypted", request.encrypted.unwrap_or(false).to_string())
        .with("ec2:VolumeType", request.volume_type.as_deref().unwrap_or("gp2"))
}
