//! Opens a journal: reads it, makes what counts durable again, and begins a new file.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use trilith_env::{DurableWrites, Env, OpenMode};
use trilith_types::GroupId;

use super::{
    Journal, JournalConfig, JournalOpenError, JournalTorn, PayloadRef, Replayed,
    block::{BLOCK_BYTES, gather},
    buffer::AlignedPool,
    chain::{Link, LinkPlace},
    core::Core,
    file::{is_torn, path, torn_path},
    files::{Files, Making, ReadyFile, UsedFile, position},
    scan::ScannedFile,
    state::{KeptMark, Resumed, State},
    survey::{Survey, hash},
};
use crate::codec::crc;

/// Most files with bytes that were cut off that are kept; the oldest go.
pub const TORN_FILES_MAX: usize = 8;

pub(super) fn open(
    env: &Env,
    dir: &Path,
    config: JournalConfig,
) -> Result<(Journal, Replayed), JournalOpenError> {
    config.check()?;
    let disk = &*env.disk;
    disk.create_dir_all(dir)
        .map_err(JournalOpenError::io("make directory", dir))?;
    let buffers = Arc::new(AlignedPool::default());
    let mut survey = Survey::read(disk, dir, OpenMode::Existing)?;
    let torn = keep_torn(env, dir, &survey)?;
    if !survey.clean {
        write_again(&survey, &buffers)?;
    }
    let tail = survey.chain.links.last();
    let next_frame = tail.map_or(1, |link| link.frame + 1);
    let tail = tail
        .and_then(|link| hash(link, &survey.files))
        .unwrap_or_default();
    let salt = survey.salt.unwrap_or_else(|| env.rng.next_u64() | 1);
    let (replayed, marks) = give_out(&mut survey, torn)?;
    let holders = std::mem::take(&mut survey.groups.holders);
    let files = take_files(env, dir, config, survey, holders.oldest(), &buffers)?;
    let resumed = Resumed {
        salt,
        next_frame,
        tail,
        files,
        holders,
        marks,
    };
    let state = State::new(config, resumed, env.clock.monotonic());
    let core = Arc::new(Core {
        env: env.clone(),
        dir: dir.to_owned(),
        config,
        buffers,
        state: Mutex::new(state),
    });
    begin(core, replayed)
}

/// Writes the first frame of this start, and waits for it: from then on the journal ends where
/// this start has found its end.
fn begin(core: Arc<Core>, mut replayed: Replayed) -> Result<(Journal, Replayed), JournalOpenError> {
    core.first_frame()?;
    if let Some(current) = core.state.lock().files.live.back() {
        replayed.direct = current.file.durable_writes() == DurableWrites::Direct;
    }
    core.work();
    Ok((Journal { core }, replayed))
}

/// Copies what is cut off to files of its own.
fn keep_torn(env: &Env, dir: &Path, survey: &Survey) -> Result<Vec<JournalTorn>, JournalOpenError> {
    let mut torn = Vec::new();
    let mut last: Option<LinkPlace> = None;
    for link in &survey.chain.cut {
        let Some(place) = link.place else { continue };
        // What follows in the same file went with the one before.
        if last.is_some_and(|last| last.file == place.file) {
            continue;
        }
        last = Some(place);
        let Some(file) = survey.files.get(place.file) else {
            continue;
        };
        let all = survey.chain.cut.iter().filter_map(|link| link.place);
        let here = all.filter(|other| other.file == place.file);
        let end = here.map(|other| other.block + other.blocks).max();
        let blocks = end.unwrap_or(place.block) - place.block;
        torn.push(keep(env, dir, link, file, place.block, blocks)?);
    }
    if !torn.is_empty() {
        drop_old_torn(env, dir)?;
    }
    Ok(torn)
}

fn keep(
    env: &Env,
    dir: &Path,
    link: &Link,
    file: &ScannedFile,
    block: u32,
    blocks: u32,
) -> Result<JournalTorn, JournalOpenError> {
    let read = read_blocks(file, block, blocks)?;
    let bytes = read.len() as u64;
    let path = torn_path(dir, file.slot, link.frame, block);
    let write = || -> io::Result<()> {
        let kept = env.disk.open(&path, OpenMode::CreateIfMissing)?;
        kept.set_len(0)?;
        kept.submit_write(0, vec![read.into()]).wait()?;
        kept.sync()?;
        env.disk.sync_dir(dir)
    };
    let kept_in = match write() {
        Ok(()) => Some(path),
        // A start must not fail for want of space for what nobody needs.
        Err(e) if e.kind() == io::ErrorKind::StorageFull => None,
        Err(e) => return Err(JournalOpenError::io("write", &path)(e)),
    };
    Ok(JournalTorn {
        path: file.path.clone(),
        position: position(block),
        bytes,
        kept_in,
    })
}

fn drop_old_torn(env: &Env, dir: &Path) -> Result<(), JournalOpenError> {
    let entries = env
        .disk
        .list(dir)
        .map_err(JournalOpenError::io("list", dir))?;
    let torn: Vec<_> = entries.into_iter().filter(|e| is_torn(&e.path)).collect();
    let surplus = torn.len().saturating_sub(TORN_FILES_MAX);
    for entry in torn.iter().take(surplus) {
        env.disk
            .remove_file(&entry.path)
            .map_err(JournalOpenError::io("remove", &entry.path))?;
    }
    Ok(())
}

fn read_blocks(file: &ScannedFile, block: u32, blocks: u32) -> Result<Vec<u8>, JournalOpenError> {
    let mut bytes = vec![0; blocks as usize * BLOCK_BYTES];
    let n = file
        .file
        .read_at(position(block), &mut bytes)
        .map_err(JournalOpenError::io("read", &file.path))?;
    bytes.truncate(n);
    Ok(bytes)
}

/// Writes every frame again that nothing proves durable: a page that reads back well may not be
/// on the disk.
fn write_again(survey: &Survey, buffers: &Arc<AlignedPool>) -> Result<(), JournalOpenError> {
    let proven = survey.chain.proven;
    for link in survey.chain.links.iter().filter(|link| link.frame > proven) {
        let Some(place) = link.place else { continue };
        let Some(file) = survey.files.get(place.file) else {
            continue;
        };
        // The first frame of a file goes with the file's header.
        let front = u32::from(place.block == 1);
        let (block, blocks) = (place.block - front, place.blocks + front);
        let bytes = read_blocks(file, block, blocks)?;
        let mut buffer = buffers.take(bytes.len());
        buffer.bytes_mut().copy_from_slice(&bytes);
        file.file
            .submit_write_durable(position(block), vec![buffer.share()])
            .wait()
            .map_err(JournalOpenError::io("write", &file.path))?;
    }
    Ok(())
}

/// What the host is given, and the marks to carry on.
fn give_out(
    survey: &mut Survey,
    torn: Vec<JournalTorn>,
) -> Result<(Replayed, BTreeMap<GroupId, KeptMark>), JournalOpenError> {
    let mut replayed = Replayed {
        torn,
        damage: std::mem::take(&mut survey.damage),
        unclean: !survey.clean,
        unknown_suffix: survey.groups.lost,
        forgotten: std::mem::take(&mut survey.groups.forgotten),
        ..Replayed::default()
    };
    let mut marks = BTreeMap::new();
    for (id, mut group) in std::mem::take(&mut survey.groups.groups) {
        if let Some(found) = &mut group.mark {
            if found.intact {
                found.mark.state = read_state(&survey.files, &found.state)?;
            }
            let mark = Arc::new(found.mark.clone());
            let origin = found.origin;
            marks.insert(id, KeptMark { mark, origin });
        }
        replayed.groups.insert(id, group.finish());
    }
    Ok((replayed, marks))
}

fn read_state(files: &[ScannedFile], state: &PayloadRef) -> Result<Bytes, JournalOpenError> {
    let Some(file) = files.iter().find(|file| file.slot == state.slot) else {
        return Ok(Bytes::new());
    };
    read_payload(&*file.file, state).map_err(JournalOpenError::io("read", &file.path))
}

/// Reads the bytes that belong to a descriptor, and checks them.
pub(super) fn read_payload(
    file: &dyn trilith_env::File,
    payload: &PayloadRef,
) -> io::Result<Bytes> {
    let data = super::block::BLOCK_DATA_BYTES as u64;
    let (from, len) = (u64::from(payload.position), u64::from(payload.len));
    let (first, end) = (from / data, (from + len).div_ceil(data));
    let mut raw = vec![0; end.saturating_sub(first) as usize * BLOCK_BYTES];
    let n = file.read_at(
        position(payload.block) + first * BLOCK_BYTES as u64,
        &mut raw,
    )?;
    raw.truncate(n);
    let found = gather(&raw, from - first * data, len).filter(|f| crc(f) == payload.crc);
    found.map(Bytes::from).ok_or_else(|| {
        let why = format!(
            "{len} bytes of the frame at byte {} are not what was written",
            position(payload.block)
        );
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// Sorts the files into those that are needed and those that can be written, and sees to it that
/// there is one of these.
fn take_files(
    env: &Env,
    dir: &Path,
    config: JournalConfig,
    survey: Survey,
    needed: Option<u32>,
    buffers: &Arc<AlignedPool>,
) -> Result<Files, JournalOpenError> {
    // What is before a file whose first frame is whole, with the marks of all groups, and that
    // nobody needs, can be written already.
    let begun = survey.last_whole_first().unwrap_or(0);
    let Survey {
        files: found,
        mut idle,
        chain,
        ..
    } = survey;
    let slots = found
        .iter()
        .map(|f| f.slot)
        .chain(idle.iter().map(|f| f.slot));
    let numbers = found
        .iter()
        .map(|f| f.number)
        .chain(idle.iter().map(|f| f.number));
    let mut files = Files {
        next_slot: slots.max().map_or(1, |slot| slot + 1),
        next_number: numbers.max().unwrap_or(0) + 1,
        ..Files::default()
    };
    for (n, file) in found.into_iter().enumerate() {
        let ScannedFile {
            slot, number, file, ..
        } = file;
        if chain
            .links
            .iter()
            .any(|link| link.place.is_some_and(|place| place.file == n))
        {
            files.live.push_back(UsedFile { slot, number, file });
        } else {
            idle.push(super::survey::IdleFile { slot, number, file });
        }
    }
    // Those that were never used first, then in the order of their last use.
    idle.sort_by_key(|file| (file.number, file.slot));
    for file in idle {
        let (slot, file) = (file.slot, file.file);
        files.ready.push_back(ReadyFile { slot, file });
    }
    let surplus = files.recycle(needed, begun, config.files_max);
    let mut wrong_size = Vec::new();
    let mut measured = Ok(());
    files.ready.retain(|ready| match ready.file.len() {
        Ok(len) if len == config.file_bytes => true,
        Ok(_) => {
            wrong_size.push(ready.slot);
            false
        }
        Err(e) => {
            measured = Err(JournalOpenError::io("measure", &path(dir, ready.slot))(e));
            true
        }
    });
    measured?;
    for slot in surplus.into_iter().chain(wrong_size) {
        let path = path(dir, slot);
        env.disk
            .remove_file(&path)
            .map_err(JournalOpenError::io("remove", &path))?;
    }
    if files.ready.is_empty() {
        let slot = files.next_slot;
        files.next_slot += 1;
        let made = make(env, dir, slot, config.file_bytes, buffers)
            .map_err(JournalOpenError::io("make", &path(dir, slot)))?;
        files.ready.push_back(made);
    }
    Ok(files)
}

fn make(
    env: &Env,
    dir: &Path,
    slot: u32,
    bytes: u64,
    buffers: &Arc<AlignedPool>,
) -> io::Result<ReadyFile> {
    let disk = &*env.disk;
    let making = Making::start(disk, dir, slot, bytes, buffers)?;
    let mut at = 0;
    while let Some((write, next)) = making.step(at) {
        if let Err(e) = write.wait() {
            making.abandon(disk);
            return Err(e);
        }
        at = next;
    }
    making.finish(disk)
}
