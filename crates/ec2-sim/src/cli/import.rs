//! The command `import-volume`: into a data folder that rests, or by the admin port of a simulator that runs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::disk::Filesystem;
use crate::error::Error;
use crate::import::{self, Import};

#[derive(Debug, clap::Args)]
pub(super) struct ImportVolume {
    /// The folder whose content the volume gets.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// The filesystem that it gets.
    #[arg(long, value_enum)]
    fs: Filesystem,
    /// The data folder, while no simulator runs on it.
    #[arg(long = "data-dir", visible_alias = "data", value_name = "FOLDER", required_unless_present = "admin")]
    data: Option<PathBuf>,
    /// The admin address of the simulator that runs.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "data")]
    admin: Option<SocketAddr>,
    /// The size; a fifth more than the content when missing.
    #[arg(long, value_name = "GIB")]
    size_gib: Option<u32>,
    /// The zone by name; the region's first when missing.
    #[arg(long)]
    zone: Option<String>,
    /// The type.
    #[arg(long, default_value = "gp3")]
    volume_type: String,
    /// A tag of the volume; may be given more than once.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// The region of a data folder that holds no account yet.
    #[arg(long, default_value = "us-east-1")]
    region: String,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag has the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl ImportVolume {
    /// Makes the volume and prints its id.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let from = std::path::absolute(&self.from).with_context(|| format!("cannot resolve {}", self.from.display()))?;
        let import = Import {
            from,
            filesystem: self.fs,
            size_gib: self.size_gib,
            zone: self.zone,
            volume_type: Some(self.volume_type),
            tags: BTreeMap::from_iter(self.tags),
        };
        let id = match (self.admin, self.data) {
            (Some(admin), _) => by_admin(admin, &import).await?,
            (None, Some(data)) => match import::into_folder(&data, &self.region, &import) {
                Err(error @ Error::InUse(_)) => bail!("{error}: use --admin with its admin address instead of --data-dir"),
                other => other?,
            },
            (None, None) => bail!("give --data-dir or --admin"),
        };
        writeln!(std::io::stdout(), "{id}")?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn by_admin(address: SocketAddr, import: &Import) -> anyhow::Result<String> {
    let unreachable = || format!("there is no admin interface at {address}: it is the address of --admin-listen");
    let stream = TcpStream::connect(address).await.with_context(unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(unreachable)?;
    let serving = tokio::spawn(connection);
    let body = Full::new(Bytes::from(serde_json::to_vec(import)?));
    let request = hyper::Request::post("/_sim/volumes").header(hyper::header::HOST, address.to_string()).body(body)?;
    let answer = sender.send_request(request).await.with_context(unreachable)?;
    let body = answer.into_body().collect().await.with_context(unreachable)?.to_bytes();
    serving.abort();
    let told: Value = serde_json::from_slice(&body).with_context(unreachable)?;
    match told["volume_id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => bail!("{}", told["error"].as_str().unwrap_or("the simulator answered without a volume")),
    }
}
