//! Tells the kubelet of the driver, in place of the node-driver-registrar sidecar.
//!
//! Source: Kubernetes `pkg/kubelet/pluginmanager/pluginwatcher/README.md`.

use std::path::PathBuf;

use tonic::{Request, Response, Status};
use tracing::{error, info};

use super::pb::registration::registration_server::Registration;
use super::pb::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use crate::admin::Admin;
use crate::api::keys::GROUP;

pub(super) struct Registrar {
    socket: PathBuf,
    admin: Admin,
}

impl Registrar {
    pub(super) fn new(socket: PathBuf, admin: Admin) -> Self {
        Self { socket, admin }
    }
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        let info = PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: GROUP.to_owned(),
            endpoint: self.socket.display().to_string(),
            supported_versions: vec!["1.0.0".to_owned()],
        };
        Ok(Response::new(info))
    }

    async fn notify_registration_status(
        &self,
        status: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = status.into_inner();
        if status.plugin_registered {
            info!("the kubelet has registered the driver");
            self.admin.set_ready();
        } else {
            error!(error = status.error, "the kubelet refused the driver; it asks again when the agent restarts");
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
