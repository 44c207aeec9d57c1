//! CSI Identity: who we are and what we can do.

use tonic::{Request, Response, Status};

use super::pb::csi::identity_server::Identity as Service;
use super::pb::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse, ProbeRequest, ProbeResponse,
};
use crate::api::keys::GROUP;

pub(super) struct Identity;

#[tonic::async_trait]
impl Service for Identity {
    async fn get_plugin_info(&self, _: Request<GetPluginInfoRequest>) -> Result<Response<GetPluginInfoResponse>, Status> {
        let answer = GetPluginInfoResponse {
            name: GROUP.to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..GetPluginInfoResponse::default()
        };
        Ok(Response::new(answer))
    }

    /// None: volumes are made and bound by our controller, which is no CSI controller service.
    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(true) }))
    }
}
