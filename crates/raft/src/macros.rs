//! The switch of a planted bug. Without the feature it is the constant `false`.

#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($core:expr, $bug:ident) => {
        $core.config.planted.has($crate::planted::Bug::$bug)
    };
}

#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($core:expr, $bug:ident) => {
        false
    };
}
