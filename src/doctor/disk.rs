//! The data directory: whether it can be written, how much space there is, and what it lies on.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Finding, beside};
use crate::{config::Config, data_dir::DataDir};

/// File systems by the number the kernel gives them, with what is wrong with them for a database.
const FILE_SYSTEMS: [(u64, &str, Option<&str>); 12] = [
    (0xEF53, "ext4", None),
    (0x5846_5342, "xfs", None),
    (0x9123_683E, "btrfs", None),
    (0x2FC1_2FC1, "zfs", None),
    (0xF2F5_2010, "f2fs", None),
    (0x0102_1994, "tmpfs", Some("it is in memory and gone after a restart of the machine")),
    (0x8584_58F6, "ramfs", Some("it is in memory and gone after a restart of the machine")),
    (0x794C_7630, "overlayfs", Some("in a container it is gone with the container; mount a volume")),
    (0x6969, "nfs", Some("locks and syncs over a network cannot be relied on")),
    (0xFF53_4D42, "cifs", Some("locks and syncs over a network cannot be relied on")),
    (0x0102_1997, "9p", Some("locks and syncs cannot be relied on there")),
    (0x6573_5546, "fuse", Some("whether it syncs depends on the program behind it")),
];

/// Space that should be there beyond what must stay free, in bytes.
const ROOM: u64 = 1 << 30;

/// Looks at the data directory.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let (path, min) = (config.storage.data.clone(), config.storage.free_mib_min << 20);
    beside("data directory", move || {
        let mut found = vec![writable(&path)];
        found.extend(existing(&path).map(|there| space(&there, min)));
        found
    })
    .await
}

/// The directory, or the nearest one above it that is there.
fn existing(path: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(path).ok()?;
    whole.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

fn writable(path: &Path) -> Finding {
    const NAME: &str = "data directory";
    let shown = path.display();
    let Some(there) = existing(path) else {
        return Finding::bad(NAME, format!("{shown} cannot be reached"), "name another with --data");
    };
    if path.exists() && !path.is_dir() {
        return Finding::bad(NAME, format!("{shown} is no directory"), "name another with --data");
    }
    if let Err(error) = tried(&there) {
        let owner = "give it to the user that runs the server (chown -R \"$(id -un)\"";
        let mend = format!("{owner} {}), or name another with --data", there.display());
        return Finding::bad(NAME, format!("{} cannot be written: {error}", there.display()), mend);
    }
    if !path.exists() {
        return Finding::good(NAME, format!("{shown} is not there yet; it can be made"));
    }
    let store = DataDir::at(path).store();
    if store.exists()
        && let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(&store)
    {
        let mend = "give the files to the user that runs the server";
        return Finding::bad(NAME, format!("{} cannot be opened: {error}", store.display()), mend);
    }
    match std::fs::metadata(path) {
        Ok(found) if found.mode() & 0o077 != 0 => Finding::weak(
            NAME,
            format!("{shown} can be written, but others can look into it (mode {:o})", found.mode() & 0o777),
            format!("close it: chmod 700 {shown}"),
        ),
        Ok(_) | Err(_) => Finding::good(NAME, format!("{shown} can be written")),
    }
}

/// Makes a file without a name, which nobody sees and nothing is left of.
fn tried(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(directory, unnamed, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        // Not every file system has files without names.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).map_err(io::Error::from)
        }
        Err(error) => Err(error.into()),
    }
}

fn space(there: &Path, min: u64) -> Finding {
    const NAME: &str = "disk";
    let (disk, kind) = match (rustix::fs::statvfs(there), rustix::fs::statfs(there)) {
        (Ok(disk), Ok(kind)) => (disk, kind),
        (Err(error), _) | (_, Err(error)) => {
            let said = format!("the disk of {} cannot be asked: {error}", there.display());
            return Finding::bad(NAME, said, "name another directory with --data");
        }
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let number = u64::try_from(kind.f_type).unwrap_or_default() & 0xFFFF_FFFF;
    let known = FILE_SYSTEMS.iter().find(|(magic, ..)| *magic == number);
    let said = format!("{} free on {}", shown(free), known.map_or("another file system", |known| known.1));
    let mend = "make space, or name a directory on another disk with --data";
    match known.and_then(|known| known.2) {
        _ if free < min => {
            let said = format!("{said}; below {} nothing is saved (storage.free_mib_min)", shown(min));
            Finding::bad(NAME, said, mend)
        }
        Some(wrong) => Finding::weak(NAME, format!("{said}: {wrong}"), "use a directory on a local disk"),
        None if free < min.saturating_add(ROOM) => Finding::weak(NAME, said, mend),
        None => Finding::good(NAME, said),
    }
}

fn shown(bytes: u64) -> String {
    if bytes >= 1 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn a_directory_is_looked_at_and_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        assert_eq!(writable(&path).verdict, Verdict::Good);
        assert!(!path.exists());
        DataDir::at(&path).create().unwrap();
        assert_eq!(writable(&path).verdict, Verdict::Good);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "only what create() made");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(writable(&path).mend.unwrap().contains("chmod 700"));
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(writable(&file).verdict, Verdict::Bad);
    }

    #[test]
    fn a_full_disk_is_bad() {
        let home = tempfile::tempdir().unwrap();
        let found = space(home.path(), u64::MAX);
        assert_eq!(found.verdict, Verdict::Bad);
        assert!(found.said.contains("nothing is saved"), "{}", found.said);
    }
}
