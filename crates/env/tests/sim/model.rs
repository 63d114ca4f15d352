//! The disk against a naive model that keeps every state a file and a name have been in.

use std::{collections::BTreeMap, io::ErrorKind, path::PathBuf, sync::atomic::Ordering::Relaxed};

use proptest::prelude::*;
use trilith_env::{
    Disk, OpenMode,
    sim::{Failure, Op, SimConfig, SimDisk},
};

use super::{config, content, path, write};

const NAMES: u8 = 4;
const POS_MAX: u64 = 10_000;
const LEN_MAX: usize = 5000;

#[derive(Clone, Debug)]
enum Step {
    Write {
        name: u8,
        pos: u64,
        len: usize,
        fill: u8,
    },
    SetLen {
        name: u8,
        len: u64,
    },
    Allocate {
        name: u8,
        pos: u64,
        len: u64,
    },
    Store {
        name: u8,
        word: usize,
        value: u64,
    },
    Sync {
        name: u8,
    },
    FailSync {
        name: u8,
    },
    Create {
        name: u8,
    },
    Rename {
        from: u8,
        to: u8,
    },
    Remove {
        name: u8,
    },
    SyncDir,
    CrashProcess,
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES;
    prop_oneof![
        8 => (name(), 0..POS_MAX, 0..LEN_MAX, 1..=255u8)
            .prop_map(|(name, pos, len, fill)| Step::Write { name, pos, len, fill }),
        2 => (name(), 0..POS_MAX).prop_map(|(name, len)| Step::SetLen { name, len }),
        2 => (name(), 0..POS_MAX, 1..POS_MAX)
            .prop_map(|(name, pos, len)| Step::Allocate { name, pos, len }),
        2 => (name(), 0..512usize, any::<u64>())
            .prop_map(|(name, word, value)| Step::Store { name, word, value }),
        3 => name().prop_map(|name| Step::Sync { name }),
        1 => name().prop_map(|name| Step::FailSync { name }),
        5 => name().prop_map(|name| Step::Create { name }),
        2 => (name(), name()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => name().prop_map(|name| Step::Remove { name }),
        2 => Just(Step::SyncDir),
        1 => Just(Step::CrashProcess),
        1 => Just(Step::PowerCut),
    ]
}

/// The states that a file has been in since it was known to be durable; the last is the current.
#[derive(Clone, Debug)]
struct File {
    states: Vec<Vec<u8>>,
    /// A sync has failed, so none proves anything any more.
    poisoned: bool,
}

impl File {
    fn now(&self) -> &Vec<u8> {
        self.states.last().unwrap()
    }

    fn change(&mut self, f: impl FnOnce(&mut Vec<u8>)) {
        let mut next = self.now().clone();
        f(&mut next);
        self.states.push(next);
    }

    /// Whether `found` may be what a power cut left: each sector is as it was at some time.
    fn explains(&self, found: &[u8]) -> bool {
        let (low, high) = self.lengths();
        let sector_is_old = |(n, sector): (usize, &[u8])| {
            let was = |state: &Vec<u8>| {
                let at = |i: usize| state.get(n * 512 + i).copied().unwrap_or(0);
                sector.iter().enumerate().all(|(i, b)| *b == at(i))
            };
            self.states.iter().any(was)
        };
        (low..=high).contains(&found.len()) && found.chunks(512).enumerate().all(sector_is_old)
    }

    fn lengths(&self) -> (usize, usize) {
        let lengths = || self.states.iter().map(Vec::len);
        (lengths().min().unwrap(), lengths().max().unwrap())
    }
}

/// Names give numbers of files; a name's states are kept as a file's are.
#[derive(Default)]
struct Model {
    files: Vec<File>,
    names: BTreeMap<u8, Vec<Option<usize>>>,
}

impl Model {
    fn id(&self, name: u8) -> Option<usize> {
        self.names
            .get(&name)
            .and_then(|states| *states.last().unwrap())
    }

    fn set(&mut self, name: u8, id: Option<usize>) {
        self.names
            .entry(name)
            .or_insert_with(|| vec![None])
            .push(id);
    }

    fn file(&mut self, name: u8) -> Option<&mut File> {
        let id = self.id(name)?;
        self.files.get_mut(id)
    }
}

fn file_name(name: u8) -> PathBuf {
    PathBuf::from(format!("f{name}"))
}

fn carry_out(disk: &SimDisk, model: &mut Model, step: &Step) {
    match *step {
        Step::Create { name } => {
            let made = disk.open(&file_name(name), OpenMode::CreateNew);
            if model.id(name).is_some() {
                assert_eq!(made.unwrap_err().kind(), ErrorKind::AlreadyExists);
            } else {
                made.unwrap();
                model.files.push(File {
                    states: vec![Vec::new()],
                    poisoned: false,
                });
                model.set(name, Some(model.files.len() - 1));
            }
        }
        Step::Rename { from, to } => {
            let done = disk.rename(&file_name(from), &file_name(to));
            assert_eq!(done.is_ok(), model.id(from).is_some());
            if done.is_ok() && from != to {
                model.set(to, model.id(from));
                model.set(from, None);
            }
        }
        Step::Remove { name } => {
            let done = disk.remove_file(&file_name(name));
            assert_eq!(done.is_ok(), model.id(name).is_some());
            if done.is_ok() {
                model.set(name, None);
            }
        }
        Step::SyncDir => {
            disk.sync_dir(path("/")).unwrap();
            model
                .names
                .values_mut()
                .for_each(|states| *states = vec![*states.last().unwrap()]);
        }
        Step::CrashProcess => disk.crash_process(),
        Step::PowerCut => cut(disk, model),
        ref on_file => change(disk, model, on_file),
    }
}

fn change(disk: &SimDisk, model: &mut Model, step: &Step) {
    let (Step::Write { name, .. }
    | Step::SetLen { name, .. }
    | Step::Allocate { name, .. }
    | Step::Store { name, .. }
    | Step::Sync { name }
    | Step::FailSync { name }) = *step
    else {
        unreachable!("the others are about names");
    };
    let opened = disk.open(&file_name(name), OpenMode::Existing);
    let Some(known) = model.file(name) else {
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::NotFound);
        return;
    };
    let file = opened.unwrap();
    match *step {
        Step::Write { pos, len, fill, .. } => {
            write(&*file, pos, &vec![fill; len]).unwrap();
            let (pos, end) = (pos as usize, pos as usize + len);
            known.change(|now| {
                if len > 0 {
                    now.resize(now.len().max(end), 0);
                    now[pos..end].fill(fill);
                }
            });
        }
        Step::SetLen { len, .. } => {
            file.set_len(len).unwrap();
            known.change(|now| now.resize(len as usize, 0));
        }
        Step::Allocate { pos, len, .. } => {
            file.allocate(pos, len).unwrap();
            known.change(|now| now.resize(now.len().max((pos + len) as usize), 0));
        }
        Step::Store { word, value, .. } => {
            file.allocate(0, 4096).unwrap();
            known.change(|now| now.resize(now.len().max(4096), 0));
            let map = file.map(0, 4096).unwrap();
            map.words()[word].store(value, Relaxed);
            drop(map);
            known.change(|now| now[word * 8..word * 8 + 8].copy_from_slice(&value.to_ne_bytes()));
        }
        Step::Sync { .. } => {
            file.sync().unwrap();
            if !known.poisoned {
                known.states = vec![known.now().clone()];
                assert_eq!(disk.on_device(&file_name(name)).unwrap(), *known.now());
            }
        }
        _ => {
            disk.fail(Failure::of(Op::Sync));
            assert!(file.sync().is_err());
            known.poisoned = true;
        }
    }
}

/// Cuts the power, checks that what is found can be explained, and takes it for the truth.
fn cut(disk: &SimDisk, model: &mut Model) {
    disk.power_cut();
    disk.restart();
    let mut after = Model::default();
    for name in 0..NAMES {
        let found = content(disk, file_name(name).to_str().unwrap()).ok();
        let none = vec![None];
        let mut may_be = model.names.get(&name).unwrap_or(&none).iter();
        let explained = may_be.any(|id| match (id, &found) {
            (None, None) => true,
            (Some(id), Some(found)) => model.files[*id].explains(found),
            _ => false,
        });
        assert!(
            explained,
            "nothing explains {name}: {:?}",
            found.map(|f| f.len())
        );
        if let Some(found) = found {
            after.names.insert(name, vec![Some(after.files.len())]);
            after.files.push(File {
                states: vec![found],
                poisoned: false,
            });
        }
    }
    *model = after;
}

/// What is read is what the model has.
fn compare(disk: &SimDisk, model: &mut Model) {
    for name in 0..NAMES {
        let found = content(disk, file_name(name).to_str().unwrap()).ok();
        assert_eq!(found.as_ref(), model.file(name).map(|f| f.now()));
    }
}

fn run(config: SimConfig, steps: &[Step]) -> Vec<Option<Vec<u8>>> {
    let disk = SimDisk::with(config);
    let mut model = Model::default();
    for step in steps {
        carry_out(&disk, &mut model, step);
        compare(&disk, &mut model);
    }
    cut(&disk, &mut model);
    (0..NAMES)
        .map(|n| content(&disk, file_name(n).to_str().unwrap()).ok())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_does_what_the_model_allows(
        seed in any::<u64>(),
        (tear, reorder, small) in any::<(bool, bool, bool)>(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let dirty_bytes_max = if small { 6000 } else { u64::MAX };
        let config = SimConfig { tear, reorder, dirty_bytes_max, ..config(seed) };
        // The same seed gives the same world.
        prop_assert_eq!(run(config.clone(), &steps), run(config, &steps));
    }
}
