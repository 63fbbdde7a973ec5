//! The world that bubblewrap makes for a command: its tree at `/workspace`, the system read-only, and nothing
//! else.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, open},
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::Mode,
    },
};

use super::{
    plan::{Place, Plan},
    seccomp,
};

/// Where the tree is mounted.
pub(super) const WORKSPACE: &str = "/workspace";

/// The user inside, which is the sandbox's own user outside.
const USER: &str = "1000";

/// Small files that programs expect, with nothing of this machine in them.
const STUBS: [(&str, &str); 4] = [
    (
        "/etc/passwd",
        "root:x:0:0:root:/:/bin/false\n\
         sandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("/etc/group", "root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// Bubblewrap's arguments, and what they refer to by number.
#[derive(Debug)]
pub(super) struct Bubble {
    /// Kept open until bubblewrap has read them.
    kept: Vec<OwnedFd>,
    words: Vec<OsString>,
}

impl Bubble {
    /// The world of a plan. Its options are in memory, not on the command line, where others could read them.
    pub(super) fn new(plan: &Plan, closed: bool) -> io::Result<Self> {
        let mut bubble = Self { kept: Vec::new(), words: Vec::new() };
        bubble.namespaces(closed);
        bubble.files(plan)?;
        bubble.environment(plan);
        for program in &seccomp::programs(true).map_err(io::Error::other)? {
            let filter = bubble.keep(&seccomp::bytes(program))?;
            bubble.say(["--add-seccomp-fd", &filter]);
        }
        Ok(bubble)
    }

    /// What is on the command line: where the options are, and the command.
    pub(super) fn arguments(mut self, argv: &[String]) -> io::Result<(Vec<OsString>, Vec<OwnedFd>)> {
        let mut options = Vec::new();
        for word in std::mem::take(&mut self.words) {
            options.extend_from_slice(word.as_encoded_bytes());
            options.push(0);
        }
        let options = self.keep(&options)?;
        let words = ["--args", &options, "--"].into_iter().chain(argv.iter().map(String::as_str));
        Ok((words.map(OsString::from).collect(), self.kept))
    }

    fn say(&mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    }

    /// A file in memory that bubblewrap inherits, by its number.
    fn keep(&mut self, content: &[u8]) -> io::Result<String> {
        let file = memfd_create("sandbox", MFdFlags::empty())?;
        let mut file = std::fs::File::from(file);
        file.write_all(content)?;
        io::Seek::rewind(&mut file)?;
        let number = file.as_raw_fd().to_string();
        self.kept.push(file.into());
        Ok(number)
    }

    fn namespaces(&mut self, closed: bool) {
        self.say(["--unshare-all", "--unshare-user", "--uid", USER, "--gid", USER, "--hostname", "sandbox"]);
        self.say(["--die-with-parent", "--new-session"]);
        if closed {
            self.say(["--disable-userns"]);
        }
    }

    fn files(&mut self, plan: &Plan) -> io::Result<()> {
        for place in &plan.places {
            match place {
                Place::Shared { from, at } => self.say([OsStr::new("--ro-bind"), from.as_ref(), at.as_ref()]),
                Place::Copied { from, at } => {
                    // What is gone since the server started is not there inside either.
                    let Ok(file) = open(from, OFlag::O_RDONLY, Mode::empty()) else { continue };
                    let number = file.as_raw_fd().to_string();
                    self.kept.push(file);
                    self.say(["--perms", "0644", "--file", &number]);
                    self.say([at]);
                }
                Place::Link { to, at } => self.say([OsStr::new("--symlink"), to.as_ref(), at.as_ref()]),
            }
        }
        for (path, content) in STUBS {
            let stub = self.keep(content.as_bytes())?;
            self.say(["--perms", "0644", "--file", &stub, path]);
        }
        let size = plan.tmp_bytes.to_string();
        self.say(["--proc", "/proc", "--dev", "/dev"]);
        for tmp in ["/dev/shm", "/tmp"] {
            self.say(["--perms", "1777", "--size", &size, "--tmpfs", tmp]);
        }
        self.say([OsStr::new("--bind"), plan.tree.as_ref(), WORKSPACE.as_ref()]);
        self.say(["--remount-ro", "/dev", "--remount-ro", "/"]);
        let start: PathBuf = Path::new(WORKSPACE).components().chain(plan.cwd.components()).collect();
        self.say([OsStr::new("--chdir"), start.as_ref()]);
        Ok(())
    }

    /// Variables are set inside: bubblewrap itself, which no wall holds yet, must not be led by them.
    fn environment(&mut self, plan: &Plan) {
        self.say(["--clearenv"]);
        for (name, value) in &plan.env {
            self.say(["--setenv", name, value]);
        }
    }
}
