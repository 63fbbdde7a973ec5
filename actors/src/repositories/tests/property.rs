//! Any edits in a work tree: what is kept is what the next tree holds, byte by byte.

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Clone, Debug)]
enum Edit {
    Write(Vec<Vec<u8>>, Vec<u8>, bool),
    Link(Vec<Vec<u8>>, Vec<u8>),
    Remove(Vec<Vec<u8>>),
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = vec(1_u8.., 1..5);
    // A few names are common, so that files and folders take each other's place.
    prop_oneof![3 => "[abc]".prop_map(String::into_bytes), 1 => any_bytes]
        .prop_filter("no name", |name| !name.contains(&b'/') && name != b"." && name != b"..")
        .prop_filter("git's own", |name| !name.to_ascii_lowercase().starts_with(b".git"))
}

fn path() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(part(), 1..4)
}

fn edit() -> impl Strategy<Value = Edit> {
    let content = vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => (path(), content, any::<bool>()).prop_map(|(path, content, is_program)| {
            Edit::Write(path, content, is_program)
        }),
        1 => (path(), vec(1_u8.., 1..10)).prop_map(|(path, target)| Edit::Link(path, target)),
        1 => path().prop_map(Edit::Remove),
    ]
}

/// Does an edit, and whatever stands in its way is gone.
fn apply(root: &Path, edit: &Edit) {
    let (Edit::Write(parts, ..) | Edit::Link(parts, _) | Edit::Remove(parts)) = edit;
    let mut path = root.to_owned();
    for (place, part) in parts.iter().enumerate() {
        path.push(name(part));
        let is_last = place + 1 == parts.len();
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir());
        if is_last && is_folder {
            fs::remove_dir_all(&path).unwrap();
        } else if !is_folder && fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path).unwrap();
        }
        if !is_last && !is_folder {
            fs::create_dir(&path).unwrap();
        }
    }
    match edit {
        Edit::Write(_, content, is_program) => {
            fs::write(&path, content).unwrap();
            let mode = if *is_program { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Edit::Link(_, target) => std::os::unix::fs::symlink(name(target), &path).unwrap(),
        Edit::Remove(_) => {}
    }
}

fn files(root: &Path) -> BTreeMap<PathBuf, Kind> {
    let mut all = everything(root);
    all.retain(|_, kind| *kind != Kind::EmptyFolder);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_edits_are_kept_and_found_again(steps in vec(vec(edit(), 0..12), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let work = managed();
            let mut base = work.head().await;
            for (step, edits) in steps.iter().enumerate() {
                let tree = work.tree(&format!("step{step}"), std::slice::from_ref(&base)).await;
                let before = files(tree.path());
                for edit in edits {
                    apply(tree.path(), edit);
                }
                let after = files(tree.path());
                let kept = keep(&tree).await;
                assert_eq!(kept.notes, Vec::<String>::new());
                assert_eq!(kept.commit == base, before == after, "a change makes a commit");
                let next = work.tree("next", std::slice::from_ref(&kept.commit)).await;
                assert_eq!(files(next.path()), after);
                tree.reset().await.unwrap();
                assert_eq!(files(tree.path()), before);
                base = kept.commit;
            }
            work.is_sound();
        });
    }
}
