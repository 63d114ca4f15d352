//! Links in virtual time: two or more of them, over a network that keeps or loses what is said.

mod founding;
mod health;
mod introductions;
mod making;
mod net;
