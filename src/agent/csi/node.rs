//! CSI Node: publishing is a bind mount of what the agent has attached and mounted; unpublishing undoes exactly that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::MountFlags;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info, info_span};

use super::pb::csi::node_server::Node as Service;
use super::pb::csi::volume_capability::AccessType;
use super::pb::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest,
    NodeGetInfoResponse, NodeGetStorageHealthRequest, NodeGetStorageHealthResponse, NodeGetVolumeHealthRequest,
    NodeGetVolumeHealthResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
};
use crate::agent::mount::{self, Mode};
use crate::agent::state::{Agent, Mounted};
use crate::domain::{Access, VolumeId};
use crate::ec2::Ec2;

/// How long a publish waits for its volume: less than the two minutes after which the kubelet gives up a call
/// (Kubernetes `pkg/volume/csi/csi_plugin.go`, `csiTimeout`), since a failed call doubles the kubelet's back-off.
const PUBLISH_WAIT: Duration = Duration::from_secs(100);

pub(super) struct Node<E> {
    agent: Agent<E>,
}

impl<E> Node<E> {
    pub(super) fn new(agent: Agent<E>) -> Self {
        Self { agent }
    }
}

/// A publish request whose arguments are complete.
struct Publish {
    volume: VolumeId,
    target: PathBuf,
    is_read_only: bool,
    options: MountFlags,
}

impl Publish {
    fn parse(request: NodePublishVolumeRequest) -> Result<Self, Status> {
        let volume = required(&request.volume_id, "volume_id")?;
        let target = target_path(&request.target_path)?;
        let capability = request.volume_capability.ok_or_else(|| Status::invalid_argument("volume_capability is missing"))?;
        let options = match capability.access_type {
            Some(AccessType::Mount(mount)) => mount_flags(&mount.mount_flags)?,
            Some(AccessType::Block(_)) => {
                return Err(Status::invalid_argument("a volume of a pool holds a filesystem, not a raw block device"));
            }
            None => return Err(Status::invalid_argument("volume_capability has no access type")),
        };
        Ok(Self { volume: VolumeId::new(volume), target, is_read_only: request.readonly, options })
    }
}

fn required<'a>(text: &'a str, name: &str) -> Result<&'a str, Status> {
    if text.is_empty() { Err(Status::invalid_argument(format!("{name} is missing"))) } else { Ok(text) }
}

fn target_path(text: &str) -> Result<PathBuf, Status> {
    let path = Path::new(required(text, "target_path")?);
    let is_plain = path.is_absolute() && path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if is_plain { Ok(path.to_owned()) } else { Err(Status::invalid_argument("target_path must be absolute and without ..")) }
}

fn mount_flags(options: &[String]) -> Result<MountFlags, Status> {
    let flag = |option: &String| match option.as_str() {
        "noatime" => Ok(MountFlags::NOATIME),
        "relatime" => Ok(MountFlags::RELATIME),
        "noexec" => Ok(MountFlags::NOEXEC),
        "ro" => Ok(MountFlags::RDONLY),
        other => Err(Status::invalid_argument(format!("mount option {other:?} is not known; use noatime, relatime, noexec or ro"))),
    };
    options.iter().map(flag).try_fold(MountFlags::empty(), |all, flag| Ok(all | flag?))
}

impl<E: Ec2> Node<E> {
    /// Binds a mounted volume. Runs detached, so that a caller that gives up does not cut it in half.
    async fn publish(agent: Agent<E>, publish: Publish) -> Result<(), Status> {
        let _guard = agent.lock(&publish.volume).await;
        let mounted = agent.mounted(&publish.volume);
        let mounted = mounted.ok_or_else(|| Status::unavailable(format!("{} is being taken off this node", publish.volume)))?;
        let target = publish.target.clone();
        let done = tokio::task::spawn_blocking(move || bind(&mounted, &publish)).await;
        done.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| Status::internal(error.to_string()))?;
        info!(target = %target.display(), "published");
        agent.wake();
        Ok(())
    }

    async fn unpublish(agent: Agent<E>, volume: VolumeId, target: PathBuf) -> Result<(), Status> {
        let _guard = agent.lock(&volume).await;
        let path = target.clone();
        let done = tokio::task::spawn_blocking(move || mount::ensure_unmounted(&path)).await;
        done.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| Status::internal(error.to_string()))?;
        info!(target = %target.display(), "unpublished");
        agent.wake();
        Ok(())
    }
}

fn bind(mounted: &Mounted, publish: &Publish) -> Result<(), mount::Error> {
    let is_read_only = publish.is_read_only || mounted.access == Access::ReadOnly;
    let mode = if is_read_only { Mode::ReadOnly } else { Mode::ReadWrite };
    mount::ensure_bound(&mounted.path, &mounted.device_numbers, &publish.target, mode, publish.options)
}

async fn detached(work: impl Future<Output = Result<(), Status>> + Send + 'static) -> Result<(), Status> {
    tokio::spawn(work).await.map_err(|error| Status::internal(error.to_string()))?
}

#[tonic::async_trait]
impl<E: Ec2> Service for Node<E> {
    async fn node_publish_volume(&self, request: Request<NodePublishVolumeRequest>) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let publish = Publish::parse(request.into_inner())?;
        let span = info_span!("publish", volume_id = %publish.volume);
        // A caller that gives up while it waits gets nothing: it has no way to undo what it would not learn of.
        let deadline = Instant::now() + PUBLISH_WAIT;
        self.agent.wait_for_mount(&publish.volume, PUBLISH_WAIT).await.map_err(Status::unavailable)?;
        self.agent.live.wait_until_fresh(&publish.volume, deadline).await.map_err(Status::unavailable)?;
        detached(Self::publish(self.agent.clone(), publish).instrument(span)).await?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let volume = VolumeId::new(required(&request.volume_id, "volume_id")?);
        let target = target_path(&request.target_path)?;
        let span = info_span!("unpublish", volume_id = %volume);
        detached(Self::unpublish(self.agent.clone(), volume, target).instrument(span)).await?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        let answer = NodeGetInfoResponse {
            node_id: self.agent.place.instance.to_string(),
            max_volumes_per_node: i64::from(self.agent.place.attach_limit),
            accessible_topology: None,
        };
        Ok(Response::new(answer))
    }

    /// None: a volume needs no staging, since the agent has mounted it before it is published.
    async fn node_get_capabilities(&self, _: Request<NodeGetCapabilitiesRequest>) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse::default()))
    }

    async fn node_stage_volume(&self, _: Request<NodeStageVolumeRequest>) -> Result<Response<NodeStageVolumeResponse>, Status> {
        Err(Status::unimplemented("staging is not needed"))
    }

    async fn node_unstage_volume(&self, _: Request<NodeUnstageVolumeRequest>) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        Err(Status::unimplemented("staging is not needed"))
    }

    async fn node_get_volume_stats(&self, _: Request<NodeGetVolumeStatsRequest>) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Err(Status::unimplemented("volume statistics are not offered"))
    }

    async fn node_get_volume_health(
        &self,
        _: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        Err(Status::unimplemented("volume health is in the PoolVolume"))
    }

    async fn node_get_storage_health(
        &self,
        _: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        Err(Status::unimplemented("volume health is in the PoolVolume"))
    }

    async fn node_expand_volume(&self, _: Request<NodeExpandVolumeRequest>) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented("the pool's template sets the size of its volumes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_must_be_absolute_and_without_steps_back() {
        assert!(target_path("/var/lib/kubelet/pods/x/mount").is_ok());
        for text in ["", "relative", "/var/lib/../../etc"] {
            assert!(target_path(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn known_mount_options_add_up_and_others_are_named() {
        let both = mount_flags(&["noatime".to_owned(), "noexec".to_owned()]).expect("both are known");
        assert_eq!(both, MountFlags::NOATIME | MountFlags::NOEXEC);
        let error = mount_flags(&["dax".to_owned()]).expect_err("it is not known");
        assert!(error.message().contains("\"dax\""));
    }

    #[test]
    fn a_publish_without_capability_is_refused_before_anything_is_looked_up() {
        let request = NodePublishVolumeRequest { volume_id: "vol-1".into(), target_path: "/t".into(), ..Default::default() };
        assert_eq!(Publish::parse(request).err().map(|status| status.code()), Some(tonic::Code::InvalidArgument));
    }
}
