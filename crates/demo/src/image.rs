//! Builds the product's image without a container engine: a base from the distribution, then the Dockerfile by buildah.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::programs::{built, repository, run};

/// The image, as the chart's default values name it.
pub const NAME: &str = "docker.io/library/volume-dispatcher";
/// The tag, which is the version of the chart.
pub const TAG: &str = env!("CARGO_PKG_VERSION");

/// Programs that building needs, with their Debian packages.
const PROGRAMS: [(&str, &str); 3] = [("buildah", "buildah"), ("mmdebstrap", "mmdebstrap"), ("strip", "binutils")];
/// What the base holds beside the distribution's minimum, and what of it is left out: nothing reads it in a container.
const BASE_OPTIONS: [&str; 7] = [
    "--variant=essential",
    "--include=e2fsprogs,xfsprogs,ca-certificates",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/zoneinfo/*",
    "--dpkgopt=path-exclude=/usr/lib/x86_64-linux-gnu/gconv/*",
];

/// Builds the image unless that has been done for this program and Dockerfile; returns a docker-archive.
pub async fn ensure(report: &(dyn Fn(&str) + Sync)) -> Result<PathBuf> {
    let cache = cache_folder()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let program = built("volume-dispatcher")?;
    let archive = cache.join(format!("image-{}.tar", fingerprint(&program)?));
    if archive.exists() {
        report("the image is up to date");
        return Ok(archive);
    }
    local_cluster::ensure_programs(&PROGRAMS, report).await?;
    let started = Instant::now();
    let buildah = Buildah { root: cache.join("buildah") };
    let base = ensure_base(&cache, &buildah, report).await?;
    build(&buildah, &base, &program, &archive).await?;
    report(&format!("built the image in {:.0} s", started.elapsed().as_secs_f64()));
    forget_others(&cache, &archive);
    Ok(archive)
}

fn cache_folder() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(caches.context("neither XDG_CACHE_HOME nor HOME is set")?.join("volume-dispatcher/image"))
}

fn fingerprint(program: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in [program, &repository().join("Dockerfile")] {
        hasher.update(&std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// One archive is enough; each has a few hundred megabytes.
fn forget_others(cache: &Path, keep: &Path) {
    let Ok(entries) = std::fs::read_dir(cache) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_archive = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("image-"));
        if is_archive && path != keep {
            drop(std::fs::remove_file(path));
        }
    }
}

struct Buildah {
    root: PathBuf,
}

impl Buildah {
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let (root, runroot) = (self.root.join("storage"), self.root.join("run"));
        let global = ["--root", text(&root)?, "--runroot", text(&runroot)?, "--storage-driver", "vfs"];
        run("buildah", global.iter().chain(arguments)).await
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The image that the Dockerfile starts from: the one that `BASE` names, else one made of the distribution's packages.
async fn ensure_base(cache: &Path, buildah: &Buildah, report: &(dyn Fn(&str) + Sync)) -> Result<String> {
    if let Ok(base) = std::env::var("BASE") {
        return Ok(base);
    }
    let release = release()?;
    let options = blake3::hash(BASE_OPTIONS.concat().as_bytes()).to_hex();
    let name = format!("localhost/volume-dispatcher-base:{release}-{}", &options[..8]);
    if buildah.run(&["inspect", "--type", "image", &name]).await.is_ok() {
        return Ok(name);
    }
    report(&format!("making a base image of {release} packages, once (half a minute)"));
    let tar = cache.join("base.tar");
    run("mmdebstrap", BASE_OPTIONS.iter().chain(&[release.as_str(), text(&tar)?])).await?;
    let container = buildah.run(&["from", "scratch"]).await?;
    buildah.run(&["add", "--quiet", &container, text(&tar)?, "/"]).await?;
    buildah.run(&["commit", "--quiet", &container, &name]).await?;
    buildah.run(&["rm", &container]).await?;
    std::fs::remove_file(&tar).with_context(|| format!("cannot remove {}", tar.display()))?;
    Ok(name)
}

/// The release of this machine, so that the image has the C library that the program was built with.
fn release() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let known = codename.context("/etc/os-release has no VERSION_CODENAME; set BASE to an image with e2fsprogs and xfsprogs")?;
    Ok(known.trim_matches('"').to_owned())
}

async fn build(buildah: &Buildah, base: &str, program: &Path, archive: &Path) -> Result<()> {
    let context = tempfile::tempdir().context("cannot make a temporary folder")?;
    let binary = context.path().join("volume-dispatcher");
    run("strip", [OsArgument::Flag("-o"), OsArgument::Path(&binary), OsArgument::Path(program)]).await?;
    let dockerfile = repository().join("Dockerfile");
    let (base, tag) = (format!("BASE={base}"), format!("{NAME}:{TAG}"));
    let build = ["bud", "--quiet", "--isolation", "chroot", "--build-arg", &base, "--build-arg", "BINARY=volume-dispatcher", "--tag", &tag];
    let place = ["--file", text(&dockerfile)?, text(context.path())?];
    buildah.run(&[&build[..], &place[..]].concat()).await?;
    let unfinished = archive.with_extension("part");
    if unfinished.exists() {
        std::fs::remove_file(&unfinished)?;
    }
    buildah.run(&["push", "--quiet", &tag, &format!("docker-archive:{}:{tag}", text(&unfinished)?)]).await?;
    std::fs::rename(&unfinished, archive).context("cannot keep the image")
}

/// Arguments of which some are paths.
enum OsArgument<'a> {
    Flag(&'a str),
    Path(&'a Path),
}

impl AsRef<std::ffi::OsStr> for OsArgument<'_> {
    fn as_ref(&self) -> &std::ffi::OsStr {
        match self {
            Self::Flag(flag) => flag.as_ref(),
            Self::Path(path) => path.as_os_str(),
        }
    }
}
