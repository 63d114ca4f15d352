//! The threads that wait for the disk.

use std::{collections::VecDeque, fmt, sync::Arc, thread};

use parking_lot::{Condvar, Mutex};

/// Threads that run submitted operations of one [`super::OsDisk`]; this many syncs of different
/// files are in flight at once. More bring little: the file system's journal serialises commits.
pub const IO_THREADS: usize = 8;

/// Most operations that wait for a thread. At the limit the submitter runs its operation itself:
/// that is the back pressure, and it cannot deadlock when the submitter is a callback on one of
/// the threads.
pub const IO_QUEUE_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// A bounded pool. Threads start when there is work for them; dropping the pool lets them finish
/// what is queued and end.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    threads_max: usize,
    queue_max: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    pub(super) fn new(threads_max: usize, queue_max: usize) -> Self {
        let shared = Shared {
            threads_max,
            queue_max,
            state: Mutex::default(),
            work: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Runs `job` on one of the threads, or here when they are too far behind.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if state.idle <= state.jobs.len() && state.threads < self.shared.threads_max {
            self.start_thread(&mut state);
        }
        if state.threads == 0 || state.jobs.len() >= self.shared.queue_max {
            drop(state);
            job();
            return;
        }
        state.jobs.push_back(Box::new(job));
        drop(state);
        self.shared.work.notify_one();
    }

    /// A thread that the system refuses is done without: the others, or the submitter, do its work.
    fn start_thread(&self, state: &mut State) {
        let shared = Arc::clone(&self.shared);
        let name = format!("trilith-io-{}", state.threads);
        if thread::Builder::new()
            .name(name)
            .spawn(move || shared.work_loop())
            .is_ok()
        {
            state.threads += 1;
        }
    }
}

impl Shared {
    fn work_loop(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.state.lock();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                self.work.wait(&mut state);
                state.idle -= 1;
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads_max", &self.shared.threads_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    #[test]
    fn jobs_run_side_by_side_up_to_the_limit() {
        let pool = Pool::new(3, 16);
        let together = Arc::new(Barrier::new(3));
        let (done, answers) = mpsc::channel();
        for _ in 0..3 {
            let (together, done) = (Arc::clone(&together), done.clone());
            // Each waits for the other two, so this ends only when three run at once.
            pool.run(move || {
                together.wait();
                done.send(thread::current().name().map(str::to_owned))
                    .unwrap();
            });
        }
        let mut names: Vec<_> = (0..3).map(|_| answers.recv().unwrap().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["trilith-io-0", "trilith-io-1", "trilith-io-2"]);
    }

    #[test]
    fn a_full_queue_makes_the_submitter_do_the_work() {
        let pool = Pool::new(1, 1);
        let (release, blocked) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel();
        pool.run(move || {
            started.send(()).unwrap();
            blocked.recv().unwrap();
        });
        running.recv().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let (queued, here) = (Arc::clone(&ran), thread::current().id());
        pool.run(move || {
            queued.fetch_add(1, Ordering::SeqCst);
        });
        let (tx, rx) = mpsc::channel();
        pool.run(move || tx.send(thread::current().id()).unwrap());
        assert_eq!(rx.recv().unwrap(), here);
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        release.send(()).unwrap();
    }

    #[test]
    fn a_dropped_pool_finishes_what_is_queued() {
        let pool = Pool::new(1, 100);
        let (done, answers) = mpsc::channel();
        for n in 0..50 {
            let done = done.clone();
            pool.run(move || done.send(n).unwrap());
        }
        drop((pool, done));
        assert_eq!(
            answers.iter().collect::<Vec<_>>(),
            (0..50).collect::<Vec<_>>()
        );
    }

    #[test]
    fn without_threads_the_submitter_works() {
        let pool = Pool::new(0, 100);
        let (done, answers) = mpsc::channel();
        pool.run(move || done.send(()).unwrap());
        answers.recv().unwrap();
        assert!(format!("{pool:?}").contains("threads_max: 0"));
    }
}
