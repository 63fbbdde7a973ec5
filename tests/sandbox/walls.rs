//! What a command cannot reach.

use std::{
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener},
        },
    },
};

use cendriix_actors::sandboxes::{ExecSpec, Mode, NOT_STARTED};
use nix::libc;

use super::{Bench, is_root, marker, owner, processes_with, why};

#[tokio::test]
async fn the_network_is_out_of_reach() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let name = marker();
    let abstract_one = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    abstract_one.set_nonblocking(true).unwrap();
    for bench in Bench::each().await {
        let script = format!(
            "bash -c 'echo reached >/dev/tcp/127.0.0.1/{port}' && echo reached
             timeout 2 bash -c 'echo reached >/dev/tcp/1.1.1.1/53' && echo reached
             timeout 2 bash -c 'echo reached >/dev/udp/1.1.1.1/53' && echo reached
             perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or die;
                connect(S, pack_sockaddr_un(\"\\x00{name}\")) or die; print \"reached\"'"
        );
        let said = bench.run(bench.shell(&script)).await;
        assert!(said.stdout.is_empty(), "{}", why(&said));
        assert!(server.accept().is_err() && abstract_one.accept().is_err());
        // The same does reach them when nothing contains it.
        let said = bench.run(ExecSpec { mode: Mode::None, ..bench.shell(&script) }).await;
        assert!(String::from_utf8_lossy(&said.stdout).starts_with("reached"), "{}", why(&said));
        assert!(server.accept().is_ok() && abstract_one.accept().is_ok());
    }
}

#[tokio::test]
async fn secrets_of_the_machine_are_unreadable() {
    for bench in Bench::each().await {
        let secret = bench.home.path().join("secret");
        fs::write(&secret, "topsecret").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let (server, secret) = (std::process::id(), secret.display());
        for path in [
            "/etc/shadow",
            "/root/.bashrc",
            "/root/.cargo/credentials.toml",
            &format!("/proc/{server}/environ"),
            &format!("/proc/{server}/root/etc/shadow"),
            &secret.to_string(),
        ] {
            let read = bench.run(bench.shell(format!("cat {path}"))).await;
            assert!(read.stdout.is_empty() && read.exit.code != Some(0), "{path}: {}", why(&read));
        }
        // In a process namespace, number 1 is bubblewrap, whose environment is empty or the command's own.
        let first = bench.says("cat /proc/1/environ | tr '\\0' '\\n'").await;
        assert!(!first.contains("CARGO_MANIFEST_DIR"), "{first}");
    }
}

#[tokio::test]
async fn the_environment_holds_nothing_of_the_server() {
    for bench in Bench::each().await {
        let mut spec = ExecSpec::new(&bench.tree, ["env"]);
        spec.env.insert("ASKED".to_owned(), "for it".to_owned());
        let said = bench.run(spec).await;
        let text = String::from_utf8(said.stdout).unwrap();
        let usual = [
            "ASKED",
            "HOME",
            "LANG",
            "TERM",
            "TMPDIR",
            "PATH",
            "PWD",
            "CARGO_HOME",
            "GOMODCACHE",
            "NVM_DIR",
            "PYENV_ROOT",
            "RBENV_ROOT",
            "RUSTUP_HOME",
            "UV_PYTHON_INSTALL_DIR",
            "VOLTA_HOME",
        ];
        for line in text.lines() {
            assert!(usual.contains(&line.split('=').next().unwrap()), "{text}");
        }
        assert!(text.contains("ASKED=for it\n") && text.contains("TERM=dumb\n"), "{text}");
    }
}

#[tokio::test]
async fn nothing_is_written_outside_the_tree_and_temporary_files() {
    for bench in Bench::each().await {
        let outside = bench.home.path().display();
        let script = format!(
            "for dir in / /usr /usr/bin /etc /var /var/tmp /home /root /dev /proc /sys /run /opt {outside}; do
                touch $dir/planted 2>/dev/null && echo $dir; mkdir $dir/planted.d 2>/dev/null && echo $dir; done
             for file in /etc/passwd /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/power/state; do
                (echo x >> $file) 2>/dev/null && echo $file; done
             touch kept $TMPDIR/kept && echo done"
        );
        assert_eq!(bench.says(&script).await, "done\n");
        assert!(bench.tree.join("kept").exists());
        if bench.is_bubblewrap() {
            assert_eq!(
                bench.says("pwd; ls /workspace; ls /sys /home /var 2>&1 | grep -v cannot").await,
                "/workspace\nkept\n"
            );
        }
    }
}

#[tokio::test]
async fn system_calls_that_lead_out_are_refused() {
    let refused = [
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("pivot_root", libc::SYS_pivot_root),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("fsopen", libc::SYS_fsopen),
        ("open_tree", libc::SYS_open_tree),
        ("move_mount", libc::SYS_move_mount),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("bpf", libc::SYS_bpf),
        ("keyctl", libc::SYS_keyctl),
        ("add_key", libc::SYS_add_key),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("init_module", libc::SYS_init_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("swapon", libc::SYS_swapon),
        ("reboot", libc::SYS_reboot),
    ];
    let expected: Vec<String> = refused.iter().map(|(name, _)| format!("{name} {}\n", libc::EPERM)).collect();
    let expected = expected.concat();
    let expected =
        format!("{expected}clone {}\nclone3 {}\nTIOCSTI {}\n", libc::EPERM, libc::ENOSYS, libc::EPERM);
    let call = |name: &str, arguments: &str| {
        format!("print '{name} ', syscall({arguments}) < 0 ? $!+0 : 'done', \"\\n\";")
    };
    let mut program: String =
        refused.iter().map(|(name, number)| call(name, &format!("{number}, 0, 0, 0, 0, 0"))).collect();
    program +=
        &call("clone", &format!("{}, {}, 0, 0, 0, 0", libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD));
    program += &call("clone3", &format!("{}, 0, 0", libc::SYS_clone3));
    // The upper half of the request is not looked at by the kernel, nor may it be by the filter.
    program += &call("TIOCSTI", &format!("{}, 0, 0x100005412, my $byte = \"x\"", libc::SYS_ioctl));
    for bench in Bench::each().await {
        let said = bench.run(ExecSpec::new(&bench.tree, ["perl", "-e", &program])).await;
        assert_eq!(String::from_utf8_lossy(&said.stdout), expected, "{}", why(&said));
        let said = bench.says("unshare -Ur true && echo done; mount -t tmpfs x /tmp && echo done; mknod n c 1 1 && echo done").await;
        assert!(!said.contains("done"), "{said}");
    }
}

#[tokio::test]
async fn a_command_has_no_rights_to_gain() {
    for bench in Bench::each().await {
        let said = bench.says("perl -e 'print $<, \" \", $>, \"\\n\"; print \"root\" if $> == 0 or POSIX::setuid(0)' -MPOSIX; id -G").await;
        assert!(!said.contains("root") && !said.split_whitespace().any(|word| word == "0"), "{said}");
        if bench.is_bubblewrap() {
            let said = bench.says("grep -E '^(CapEff|CapPrm|NoNewPrivs|Seccomp):' /proc/self/status").await;
            let words: Vec<&str> = said.split_whitespace().collect();
            let nothing = "0000000000000000";
            assert_eq!(words, ["CapPrm:", nothing, "CapEff:", nothing, "NoNewPrivs:", "1", "Seccomp:", "2"]);
        }
    }
}

#[tokio::test]
async fn only_three_files_are_inherited() {
    let leaked = fs::File::open("/etc/passwd").unwrap();
    nix::fcntl::fcntl(&leaked, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    for bench in Bench::each().await {
        let program = "for (0..200) { if (open(my $file, '<&', $_)) { print \"$_ \" } }";
        let said = bench.run(ExecSpec::new(&bench.tree, ["perl", "-e", program])).await;
        assert_eq!(String::from_utf8_lossy(&said.stdout), "0 1 2 ", "{}", why(&said));
    }
    drop(leaked);
}

#[tokio::test]
async fn a_planted_setuid_file_is_nobodys_on_the_machine() {
    for bench in Bench::each().await {
        let planted = bench.says("cp /bin/true suid && chmod 4755 suid && echo planted").await;
        assert_eq!(planted, "planted\n");
        let owner = owner(&bench.tree.join("suid"));
        if is_root() {
            assert!((200_000..265_536).contains(&owner), "{owner}");
            let mode = fs::metadata(&bench.tree).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "no other user reaches it");
        } else {
            assert_eq!(owner, nix::unistd::geteuid().as_raw());
        }
    }
}

#[tokio::test]
async fn two_sandboxes_cannot_see_each_other() {
    for bench in Bench::each().await {
        let marker = marker();
        let mut first =
            bench.start(bench.shell(format!("echo private > file; echo ready; sleep {marker}"))).await;
        first.next().await.unwrap();
        let other = bench.beside("other");
        let pids = processes_with(&marker).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let script = format!(
            "for pid in {pids}; do kill -9 $pid && echo killed; done; cat {}/file; ls {}",
            bench.tree.display(),
            bench.tree.display()
        );
        let spec = ExecSpec::new(&other, ["sh", "-c", &script]);
        let said = bench.run(spec).await;
        assert!(said.stdout.is_empty(), "{}", why(&said));
        assert!(!processes_with(&marker).is_empty());
        assert_eq!(owner(&bench.tree) == owner(&other), !is_root());
        first.stop();
    }
}

#[tokio::test]
async fn a_command_starts_beneath_its_tree_or_not_at_all() {
    for bench in Bench::each().await {
        fs::create_dir_all(bench.tree.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/usr", bench.tree.join("link")).unwrap();
        let mut spec = bench.shell("basename $PWD");
        spec.cwd = "a/b".into();
        assert_eq!(bench.run(spec).await.stdout, b"b\n");
        for cwd in ["..", "/", "a/../.."] {
            let mut spec = bench.shell("pwd");
            spec.cwd = cwd.into();
            assert!(bench.local.exec(spec).await.is_err(), "{cwd}");
        }
        let mut spec = bench.shell("pwd");
        spec.cwd = "link".into();
        let said = bench.run(spec).await;
        assert!(bench.is_bubblewrap() || said.exit.code == Some(NOT_STARTED), "{}", why(&said));
    }
}

#[tokio::test]
async fn a_contained_command_is_given_its_input_and_its_tools() {
    for bench in Bench::each().await {
        let mut spec = ExecSpec::new(&bench.tree, ["cat"]);
        let input: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        spec.limits.output_bytes = 8 << 20;
        spec.stdin = Some(input.clone());
        assert!(bench.run(spec).await.stdout == input);
        assert!(bench.run(ExecSpec::new(&bench.tree, ["cat"])).await.exit.is_success());
        let said = bench.says("git init -q . && git status --short && echo fine").await;
        assert_eq!(said, "fine\n");
    }
    let bench = Bench::bubblewrap().await;
    assert_eq!(bench.says("echo seen > /dev/stdout; id -un; echo $HOME").await, "seen\nsandbox\n/tmp\n");
}

#[tokio::test]
async fn tests_of_a_crate_run_without_network() {
    let bench = Bench::bubblewrap().await;
    if std::env::var_os(super::UNPRIVILEGED).is_some() {
        // The toolchain may lie in a home directory that this user cannot enter.
        return;
    }
    fs::create_dir(bench.tree.join("src")).unwrap();
    fs::write(
        bench.tree.join("Cargo.toml"),
        "[package]\nname = \"probe\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    fs::write(bench.tree.join("src/lib.rs"), "#[test]\nfn adds() {\n    assert_eq!(1 + 1, 2);\n}\n").unwrap();
    let mut spec = ExecSpec::new(&bench.tree, ["cargo", "test", "--offline"]);
    spec.limits.wall = std::time::Duration::from_mins(2);
    spec.limits.memory_bytes = 2 << 30;
    spec.limits.cpu_seconds = 100;
    let said = bench.run(spec).await;
    assert!(said.exit.is_success(), "{}", why(&said));
    assert!(String::from_utf8_lossy(&said.stdout).contains("1 passed"), "{}", why(&said));
}

#[tokio::test]
async fn containing_nothing_must_be_asked_for() {
    let bench = Bench::bubblewrap().await;
    let mut spec = bench.shell("cat /etc/hostname; pwd");
    spec.mode = Mode::None;
    let said = bench.run(spec).await;
    let expected = format!("{}{}\n", fs::read_to_string("/etc/hostname").unwrap(), bench.tree.display());
    assert_eq!(String::from_utf8_lossy(&said.stdout), expected);
    assert_eq!(bench.says("cat /etc/hostname 2>/dev/null; pwd").await, "/workspace\n");
}
