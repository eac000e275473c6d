//! `cargo xtask vm`: one scenario per promise, each booting the Spine under QEMU and reading its console.
//!
//! A scenario is a function in one of the modules below, its name beginning with the requirement it shows, and one row of
//! [`SCENARIOS`]. It gets a [`lab::Lab`], boots what it needs, and returns the reason if the promise does not hold. Every
//! wait is for a line or a QMP event; every console is kept in `build/vm/<name>.log`.

pub(crate) mod again;
pub(crate) mod bus;
pub(crate) mod chain;
pub(crate) mod crew;
pub(crate) mod cutlog;
pub(crate) mod cuts;
pub(crate) mod disk;
pub(crate) mod gate;
pub(crate) mod lab;
pub(crate) mod rng;
pub(crate) mod updates;

mod ai;
mod apart;
mod arbiter;
mod betrayal;
mod boots;
mod courier;
mod desk;
mod devices;
mod disks;
mod ends;
mod entries;
mod faults;
mod firmware;
mod flood;
mod forgery;
mod hardware;
mod identity;
mod images;
mod inbound;
mod inside;
mod liars;
mod limits;
mod lines;
mod net;
mod online;
mod outside;
mod rights;
mod roomends;
mod rooms;
mod root;
mod screen;
mod setup;
mod siege;
mod slow;
mod state;
mod stick;
mod transfers;
mod unplugged;
mod vault;

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::accel::{self, Choice};
use crate::arch::{self, Arch};
use crate::host;
use crate::layout::Layout;
use crate::roomdisk::{self, SMALL, Set, TESTED};
use crate::soil::{Soil, Target, Which};
use crate::{spine, uefi};
use crew::Job;
use lab::{Bench, Lab};
use rng::Rng;

/// Last console lines shown with a failure that does not bring its own.
const TAIL_LINES: usize = 20;
/// Longest that a scenario may take: thrice the longest one on a slow machine; and what each power cut of the run adds to it.
const LIMIT: Duration = Duration::from_secs(600);
const LIMIT_PER_CUT: Duration = Duration::from_secs(10);
/// Most scenarios of a run that are tried once more by themselves.
const UNSTEADY: usize = 3;
/// Power cuts of a run, unless told.
const CUTS: u32 = 50;

/// One promise, shown on a machine.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Requirement id, then what holds; also the name of its console log.
    pub name: &'static str,
    /// The promise in one line.
    pub promise: &'static str,
    /// Images it cannot do without, beside [`SMALL`]'s.
    images: &'static [&'static str],
    /// The kernels that drive what it takes; none named, every one does.
    only: &'static [Target],
    run: fn(&Lab) -> Result<()>,
}

/// A row is `module::function: "promise",` or, where it needs a larger image, `module::function ["dev"]: "promise",`, or, where it needs
/// what not every kernel drives, `module::function {Pc}: "promise",`.
macro_rules! scenarios {
    ($($module:ident :: $name:ident $([$($image:literal),+])? $({$($target:ident),+})?: $promise:literal,)*) => {
        /// Every scenario; the long ones first, so that no worker ends alone.
        pub const SCENARIOS: &[Scenario] = &[
            $(Scenario {
                name: stringify!($name),
                promise: $promise,
                images: &[$($($image),+)?],
                only: &[$($(Target::$target),+)?],
                run: $module::$name,
            },)*
        ];
    };
}

scenarios! {
    cuts::s04_power_cuts_lose_nothing_acknowledged_first_chain: "half of the cuts at random instants under write load; every acknowledged record is there, the chain verifies",
    cuts::s04_power_cuts_lose_nothing_acknowledged_second_chain: "the other half, on another disk",
    state::h16_seed_never_serves_twice: "no two boots are given the same entropy seed, cuts and resets included",
    faults::c03_hung_loop_is_reset_by_the_watchdog: "a stuck event loop is a reset by i6300esb, and the next boot says so",
    faults::a12_without_hardware_softdog_resets_a_hung_loop: "the same with softdog where there is no hardware watchdog",
    faults::a12_the_watchdog_of_the_chipset_counts_and_resets_a_hung_loop {Vm, Pc}: "that of a PC: its driver tells what is left, and it bites",
    faults::h07_ten_thousand_orphans_are_reaped_while_the_line_answers: "10,000 orphans end at once, status answers meanwhile, none is left, PID 1 has not grown",
    faults::h06_keeper_that_dies_is_restarted_a_bounded_number_of_times: "three restarts, then dirty, and the machine goes on",
    faults::c03_panic_of_bay0_reboots_and_is_named: "a panic reboots, and the next boot names its place",
    faults::c03_exit_of_bay0_reboots: "PID 1 that exits is a reboot",
    state::h11_corrupt_database_is_set_aside_and_red: "garbage for a database is set aside, RED, and GREEN one boot later",
    state::h11_newer_schema_is_refused_and_not_touched: "a newer schema is refused, its bytes stay",
    state::h12_ghosts_of_every_half_state_are_cleared: "running and starting without a room become stopped, once",
    state::h19_torn_log_tail_is_closed_and_not_an_error: "half a last record is closed and said, GREEN",
    state::h19_changed_log_record_is_red_and_set_aside: "one changed bit in the log is RED with its line, the file kept",
    state::h16_clock_of_1970_starts_at_the_floor: "without a working clock, time starts at the image's build",
    state::h16_floor_is_written_every_minute: "a power cut takes a minute of the last known good time at most",
    state::h16_clock_in_the_past_never_starts_behind_the_floor: "a clock set back is moved forward to the last known good time",
    disks::h06_disk_that_hangs_from_the_start_is_a_dirty_boot: "a disk that never answers costs a deadline, not the boot",
    slow::h06_slow_again_and_again_is_yellow_and_green_with_the_same_keeper: "a disk that stands still for a while costs nothing; a save that waited for it is there after a power cut",
    slow::h06_seconds_for_each_block_and_a_room_starts_and_saves_all_the_same: "a room starts and saves on a disk of 2048 bytes a second, and the machine ends in time",
    slow::h06_keeper_that_is_given_up_is_followed_without_a_reboot: "a disk that comes back after the keeper was given up is GREEN without a reboot",
    slow::h06_keeper_whose_disk_moves_is_not_given_up: "a request takes longer than a keeper may stand still, and the disk moves: it is waited for",
    updates::h06_an_update_on_a_slow_disk_is_taken_and_loses_nothing: "megabytes for the slot on a disk of one a second: the keeper waits, the update is taken and tried",
    slow::h06_disk_that_never_comes_back_is_red_to_the_end: "a disk that stops answering costs the keeper, not PID 1",
    slow::h06_keeper_that_stands_still_is_replaced: "a keeper that stands still, on a disk that does too, is replaced",
    slow::h15_file_system_that_falls_read_only_is_said_with_the_kernels_counters: "an error of ext4 in operation is RED at once, and says what the kernel has counted",
    slow::h15_one_error_of_the_disk_is_said_with_the_kernels_counters: "one write that fails is said, and costs nothing that was acknowledged",
    disks::h06_missing_disk_is_a_dirty_boot: "no disk: RED with the reason, operator line, power-off",
    disks::h15_read_only_disk_is_red_and_says_attach_it_writable: "a read-only disk is RED and stays as it is",
    disks::h15_full_disk_at_first_boot_is_red_and_names_enospc: "no room for the first log and database",
    disks::h15_disk_that_filled_up_keeps_the_log_and_is_red: "no room for the marker, while the log goes on",
    disks::h15_full_log_that_cannot_rotate_is_red_until_there_is_room: "the log is full and the disk too: said once, RED, and GREEN when there is room again",
    vault::a14_a_locked_machine_answers_to_the_passphrase_alone: "wrong ones and verbs are none, and who asks for it is killed and followed by another",
    vault::c07_the_right_passphrase_opens_the_vault_and_what_is_kept_is_there_again: "GREEN, mounted nodev,nosuid,noexec, nothing in clear on the disk, the passphrase on no console and in no log; the second boot knows the first",
    vault::c07_a_wrong_passphrase_is_followed_by_the_right_one: "a wrong one costs a try, and what was typed before the question is no answer",
    vault::c09_three_wrong_passphrases_switch_the_machine_off: "no shell, no operator line, no report: power-off, and the vault as it was",
    vault::a12_pid_1_is_alive_while_it_waits_for_the_passphrase: "the watchdog is fed longer than its time-out; the power button and control-alt-delete work",
    vault::c07_a_keeper_that_dies_finds_the_vault_open: "the next keeper does not ask again",
    vault::c07_a_keeper_that_dies_while_it_asks_is_followed_by_one_that_asks_again: "half an answer dies with it; the next one asks anew",
    vault::c07_a_blank_disk_becomes_a_vault_on_the_word_format_alone: "FORMAT, a passphrase twice, and a vault that opens at the next boot",
    vault::c07_a_blank_disk_is_left_as_it_is_on_any_other_word: "any other spelling is a dirty boot, and zeros stay zeros",
    vault::c07_a_disk_with_anything_on_it_is_never_formatted: "one byte at its end, and nobody is even asked",
    vault::c07_a_vault_without_a_file_system_is_filled_on_the_word_format: "one made elsewhere: asked after the passphrase",
    firmware::c07_the_release_profile_takes_a_vault_and_nothing_else: "on the disk that was booted: plain is refused and stays as it is, a vault is made and opened",
    vault::a02_a_vault_sealed_to_a_tpm_needs_it_and_the_passphrase: "with the passphrase alone, with the disk alone: nothing; the recovery key opens it anywhere, and that is YELLOW",
    vault::a02_another_tpm_is_refused_until_reseal: "at the operator line, with the recovery key and a new passphrase",
    vault::a02_a_power_cut_while_it_is_sealed_again_leaves_the_recovery_key: "at random instants between the old key and the new one",
    vault::a02_a_vault_that_was_made_without_a_tpm_says_so: "GREEN with protection=passphrase, and reseal says so without a question",
    vault::a02_a_tpm_without_a_sha_256_bank_is_refused_before_the_vault_is_made: "SHA-1 alone: named before FORMAT; the passphrase alone opens what is made",
    vault::h06_a_vault_whose_disk_hangs_is_a_dirty_boot: "what works the key out is stopped after its time",
    disks::h05_unformatted_disk_is_refused_and_never_formatted: "zeros stay zeros",
    ends::h08_operator_poweroff_is_clean: "poweroff: steps, seed, time, checkpoint, unmount; next boot says clean",
    ends::h08_power_button_is_a_clean_poweroff: "the same by the ACPI button",
    ends::h08_sigterm_is_a_clean_poweroff: "the same by SIGTERM",
    ends::h08_a_keeper_that_hangs_holds_the_end_up_a_bounded_time: "poweroff while the keeper is stopped: every step has its deadline",
    ends::h08_operator_reboot_is_clean: "reboot: the machine comes back and says clean",
    ends::h08_control_alt_delete_is_a_clean_reboot: "the same by control-alt-delete, or by its signal where the kernel takes no keys",
    ends::h20_power_cut_is_named_as_the_previous_end: "a cut is told apart from a clean end",
    updates::a13_an_update_is_tried_once_and_then_first: "the slot that does not run takes the other Spine, boots it once by BootNext, and is first only when it is GREEN; then that very update is refused, and the older Spine stays",
    updates::a13_an_update_is_tried_once_and_then_first_five_times_over: "the same with each slot in turn",
    updates::a13_a_room_sends_an_update_where_its_policy_says_so: "a stream through sys://net: refused by its head, cut off, changed, and taken; a room without the right is told so",
    updates::c11_a_new_spine_that_fails_is_back_at_the_old_one_and_refused: "it crashes: the old slot runs again by itself, remembers the hash, and makes the other its copy",
    updates::c11_a_new_spine_that_hangs_or_is_not_well_is_back_at_the_old_one_too: "the same of these",
    updates::c01_a_spine_on_trial_is_read_whole_before_anything_of_it_runs: "a changed bit that nothing else reads: it is back at the old one, and refused",
    updates::c11_a_vault_without_a_tpm_is_no_fault_of_the_new_spine: "it asks for the passphrase, is GREEN, and is first from then on",
    updates::u05_a_new_spine_that_never_starts_is_tried_three_times: "it panics before bay0: the old slot runs again by itself, and only after the third time it is refused, as one that never started",
    updates::u05_a_power_cut_in_its_trial_burns_no_spine: "it is tried again and kept",
    updates::u05_a_trial_is_recognised_whatever_the_order_is: "BootOrder put back to A, B: the trial goes back by itself and is refused",
    updates::c09_a_first_slot_that_comes_to_no_end_is_left_for_the_other_and_that_for_off: "A panics three times, B runs and stays second; where B panics too, the machine is off",
    updates::c09_power_cuts_burn_no_slot: "three in a row and B is started once; then A is first as before",
    updates::c09_load_options_in_a_boot_entry_cost_that_entry_and_no_more: "they take the place of the command line where Secure Boot is off: A, then B, which makes the entry again without them",
    entries::u05_a_stick_that_the_firmware_has_found_by_itself_has_its_entries_after_one_boot: "four, in order, before the firmware's own: the second boot is by Spine A, an update is taken, and with both slots wrecked the machine is off",
    entries::u05_boot_entries_that_are_lost_doubled_or_out_of_order_are_put_right: "foreign ones and those of another disk stay, behind; a boot that finds all well writes nothing",
    entries::u05_a_firmware_that_takes_no_boot_entry_is_said_and_yellow: "one line with what to do; the machine works, and the next boot that may make them does",
    entries::u05_a_boot_that_is_not_well_has_its_entries_too: "and the other slot is neither looked at nor changed",
    entries::u05_a_power_cut_between_any_two_boot_entries_leaves_a_machine_that_boots: "after each of the five writes of a first boot; the next boot completes them",
    updates::c11_an_update_whose_images_are_not_on_the_disk_of_rooms_is_not_kept: "the trial names the image and what disk is wanted, and goes back by itself",
    updates::u05_an_update_whose_boot_entry_is_gone_is_tried_all_the_same: "the entry is made again by its device path and the trial takes place; that of the older Spine is made again too, and it stays second",
    updates::c10_what_is_no_good_update_is_refused_before_anything_is_written: "another's key, a changed byte, an older version, no disk: each with its reason, the slots as they were",
    updates::c10_a_power_cut_during_an_update_leaves_a_machine_that_boots: "at random instants of it, and of the repair after it: a slot boots GREEN, and the machine takes the update afterwards",
    updates::c10_a_power_cut_at_each_step_of_an_update_leaves_a_machine_that_boots: "after the head is erased, the order is changed, the next boot is chosen, the head is written",
    updates::t06_a_slot_that_is_not_what_it_was_is_replaced: "a changed byte of the slot that does not run is answered by a copy of the other",
    setup::u07_a_power_cut_during_an_installation_leaves_a_whole_spine_or_none: "after a fifth and nine tenths of it: on a new disk nothing starts, and where state is kept a whole Spine does",
    setup::u07_what_a_disk_keeps_stays_if_somebody_says_so_and_no_other_word_does_anything: "the disk that was booted, one that is not there, a wrong number or word: refused, and not a byte is written; KEEP replaces both Spines alone",
    setup::u07_a_stick_installs_its_spine_on_a_disk_which_starts_without_it: "disks, install, the serial number; then a vault, slots A and B, and rooms from its own images, with the stick and without it",
    firmware::u07_a_stick_of_the_release_profile_is_installed_from_and_serves_no_other_verb: "under Secure Boot: disks and install, every other verb refused; what is installed has no operator line",
    setup::u07_an_installed_disk_starts_on_a_machine_that_has_never_seen_it {Vm, Pc}: "on another bus, without a boot entry; what was there before is asked about twice and gone",
    setup::u07_a_stick_that_is_larger_than_its_image_has_its_table_put_right_once: "the second copy of its partition table is at its end, as another program reads it; the next boot writes nothing",
    setup::u08_a_disk_of_4096_byte_sectors_is_installed_on_and_starts: "from the firmware to a room",
    setup::t06_images_that_are_not_what_they_were_are_replaced_by_the_other_slots: "either slot's, at the boot that finds it; a room starts all the same",
    setup::u07_an_update_brings_its_images_and_is_refused_without_them: "images that were changed or are missing: nothing is written; then they are in the other slot's place, and this one's are as they were",
    setup::c07_a_reset_destroys_the_keys_and_the_next_boot_makes_a_vault_anew: "in so many letters; then nothing opens what was there",
    courier::a04_a_question_that_nobody_answers_is_no: "after 30 s; the room may ask again 30 s later, and no sooner",
    courier::a03_a_file_passes_when_a_person_types_the_letters_and_is_recorded_first: "the room that gives it stands still meanwhile; what is there already stays; log and digest agree",
    courier::a04_enter_alone_is_no_and_the_room_may_not_ask_again_at_once: "nothing passes, and the operator line is as it was",
    courier::a03_nothing_is_delivered_before_its_record_is_on_the_disk: "on a disk that stands still nothing passes; after a power cut the record is there",
    courier::a03_rooms_that_end_or_stand_still_cost_their_file_and_nothing_else: "in the middle, in the background, without reading, without end",
    courier::a03_a_nested_room_that_gave_a_file_goes_on_with_the_one_around_it: "though the focus went elsewhere meanwhile",
    betrayal::a03_a_courier_that_a_room_has_taken_over_reaches_nothing: "each system call, descriptor and word that it could try, memory and processor without end: refused or ended, and an honest file passes after it",
    betrayal::a03_other_bytes_than_were_allowed_are_refused_by_the_room_that_takes_them: "by their hash, and both rooms are told",
    transfers::a03_a_power_cut_at_any_step_leaves_a_record_at_least_of_all_that_passed: "while it is read, asked about, allowed, recorded, delivered: the chain is whole, the rooms begin anew",
    transfers::a03_a_room_that_ends_at_any_stage_costs_its_own_file_alone: "the one that gives, and the one that takes: while it is read, asked about, delivered",
    transfers::a03_a_file_that_changes_while_it_is_read_is_delivered_as_it_was_read: "the hash of the record is that of what came",
    transfers::a03_a_thousand_files_in_a_row_leave_nothing_behind: "no descriptor, process or group, and PID 1 has not grown",
    transfers::a03_a_gibibyte_passes_from_room_to_room: "1 GiB, which both policies let pass at most, within the time of reading and of a delivery",
    transfers::a03_megabytes_pass_within_the_time_of_a_delivery: "from a stream and through a pipe, with the right hash",
    forgery::a04_letters_typed_at_a_rooms_own_question_are_the_rooms_and_nothing_passes: "a question that a room prints, alone and in a flood beside a real one; keys typed ahead are no answer",
    forgery::a04_a_half_typed_verb_is_no_answer_and_goes_on_after_it: "and a room that asks without end meanwhile gets nothing",
    forgery::a04_a_name_that_a_terminal_would_obey_or_a_person_misread_is_shown_byte_by_byte: "right to left, over two lines, too long; the file has that very name on the other side, and 4 KiB are refused",
    courier::a03_downwards_nobody_is_asked_where_both_policies_say_so: "to a frozen room, which is frozen again afterwards; what it is stands in the log",
    outside::u09_a_file_gets_in_and_out_of_a_room_when_a_person_says_so: "by a port to the host; both digests and the log agree",
    outside::u09_the_outside_gets_and_gives_nothing_without_a_yes_and_may_hang_up: "no, a host that hangs up, another file than it waits for, a room without the port",
    stick::u09_a_file_gets_from_a_stick_and_onto_it_when_a_person_says_so {Vm, Pc}: "by FAT32 on USB; what is put there the host's mtools read, and fsck finds nothing",
    stick::u09_without_a_stick_and_with_two_the_person_is_told_and_no_other_room_gets_one {Vm, Pc}: "plugged in and pulled while the machine runs",
    stick::a04_a_stick_is_given_when_a_person_says_so_and_another_one_is_asked_about_again {Vm, Pc}: "no is no; once a room has it, it is asked no more about that stick, until it is pulled or the room ends",
    stick::u09_a_stick_that_is_pulled_in_the_middle_costs_its_file_and_nothing_else {Vm, Pc}: "nothing is confirmed that is not on it",
    stick::u09_a_stick_that_is_protected_from_being_written_is_read_and_takes_nothing {Vm, Pc}: "its switch is on: files are given, take is refused with the reason, not a byte is another",
    stick::u09_what_the_machine_was_started_from_is_no_stick {Vm, Pc}: "booted from USB by firmware, with the state there",
    courier::a03_what_the_policies_do_not_let_pass_is_refused_with_the_reason: "size, kind, name, room; a room that does not wait",
    ai::a08_a_question_is_answered_and_the_log_has_its_figures_and_none_of_its_text ["hostile"]: "what comes in stands behind the prompt; too long, not foreseen and failed are told with the reason; who has no policy for it asks nothing",
    ai::t04_a_question_stands_still_while_its_room_is_behind_and_costs_no_processor ["hostile"]: "another room's is answered meanwhile; it goes on when its room is back, and ends with it",
    ai::a08_a_room_that_has_used_its_tokens_waits_and_others_do_not ["hostile"]: "and is no other one once it was started anew",
    ai::c05_what_answers_a_question_can_open_nothing_and_knows_nothing_of_the_last_one ["hostile"]: "no file, socket, process, signal, code or memory beyond its own; floods and rooms that do not read hold nobody up",
    ai::a08_a_thousand_questions_of_four_rooms_leave_nothing_behind ["hostile"]: "with rooms that hang up, stand still and come back: each is answered, and no process stays",
    ai::t09_a_model_with_one_changed_byte_answers_nothing ["ai"]: "in its head there is no model, in its numbers no answer: the kernel does not hand a changed block out",
    ai::a08_a_model_answers_a_room_on_this_machine ["ai"]: "by the toy model: the likeliest, by chance with a seed, by a JSON schema",
    ai::t04_where_memory_is_short_the_youngest_makes_room_and_the_oldest_is_answered ["hostile"]: "the kernel kills in the organ's room: the youngest question is cancelled, unless it was that one; no other is",
    ai::a08_a_room_of_the_system_asks_whoever_is_in_front ["hostile"]: "by its policy, and its question does not stand still",
    ai::a08_the_end_of_the_organ_is_told_to_who_asked_and_it_comes_back ["hostile"]: "in the middle of an answer",
    boots::h05_first_boot_on_an_empty_disk_then_the_second_knows_it: "first boot, clean end, second boot",
    boots::h20_clean_boot_is_green: "every phase in order, no FAIL, GREEN, power-off",
    faults::h09_the_memory_killer_takes_the_keeper_and_never_pid1: "with no memory left the kernel kills the keeper, and after it nothing: the machine reboots",
    boots::h04_the_kernel_ring_hears_every_line: "each line of the console is in the kernel's ring too",
    boots::a11_pid1_has_one_thread: "PID 1 counts its threads and finds one",
    boots::h04_the_first_line_on_the_console_is_bay0s_version: "bay0's first word is who it is",
    boots::a07_modules_are_sealed_before_the_keeper_starts: "no module can be loaded after boot, or none at all",
    boots::t07_the_spine_sends_nothing_even_with_a_network_card: "not one packet leaves and no address is taken, with a card that the kernel drives",
    boots::h18_unknown_kernel_arguments_are_harmless: "no argument opens a shell, a rescue mode or another path",
    boots::h20_a_machine_without_a_serial_port_is_green {Vm, Pc}: "nobody can read or type there, and nothing else is missing",
    boots::h20_little_memory_is_enough: "GREEN with 64 MiB, and with 88 on Debian's kernel",
    identity::u04_the_booted_disks_own_persist_is_taken_whatever_else_is_attached: "another disk of slots before it and behind it, and on USB: state and update go to the one that was booted",
    identity::u04_a_byte_copy_of_the_booted_disk_is_refused_and_neither_is_written: "attached at the boot and later: both are named, and no byte of either changes",
    identity::u04_a_damaged_partition_table_is_named_and_its_other_copy_used: "one bit of the disk of rooms: YELLOW, named, and the rooms start; one of each copy: RED, named",
    identity::u04_errors_that_ext4_has_noted_are_yellow_with_count_function_and_time: "as the superblock has them",
    identity::u04_a_disk_that_no_driver_serves_is_named: "virtio-scsi, legacy virtio: RED with the device as the kernel has it",
    identity::u04_a_table_for_other_sectors_is_named_and_used: "512 on 4096: YELLOW, and the state is kept",
    identity::u04_two_disks_that_may_be_persist_are_refused_by_name_in_both_orders: "on every bus: RED, both named, both as they were",
    hardware::u08_one_disk_boots_from_nvme_sata_usb_and_virtio {Vm, Pc}: "as the factory makes it, carried from bus to bus: GREEN from slot A each time, and it knows the boot before",
    hardware::u08_one_disk_boots_from_a_scsi_host_and_from_older_usb {Pc}: "the same by virtio-scsi and behind EHCI",
    hardware::u08_state_is_kept_on_a_card_and_on_a_stick_that_speaks_uas {Pc}: "the kernel started directly: GREEN on an SD card and by UAS, and it knows the boot before",
    hardware::u08_of_two_disks_in_both_orders_the_booted_one_is_used {Vm, Pc}: "NVMe and SATA, SATA and USB, a stranger's disk of slots before and behind ours: it is not written",
    hardware::u08_of_two_disks_on_a_pcs_other_buses_the_booted_one_is_used {Pc}: "the same with virtio-scsi, and with a card in the slot",
    hardware::u08_a_vault_is_sealed_to_a_tpm_by_either_interface {Vm, Pc}: "TIS and CRB: sealed at the first boot, opened at the second",
    hardware::u08_one_processor_and_eight_one_gigabyte_and_eight {Pc}: "GREEN, and the kernel counts them",
    screen::u08_screen_and_keyboard_are_a_console_beside_the_serial_line {Pc}: "the firmware's framebuffer, bochs and virtio; keys on a PC's own port and on USB: the log so far, a prompt, an answer to what is typed, and the power button",
    screen::u08_a_machine_without_a_serial_port_is_used_by_its_screen_and_keyboard {Pc}: "started, a room entered whose terminal has the size of the display, powered off",
    screen::u08_a_screen_whose_process_dies_comes_back_and_costs_nothing {Pc}: "three times, with what was said; after that the machine goes on without it, GREEN",
    screen::u08_a_keyboard_that_is_plugged_in_later_types {Pc}: "and again, once it was pulled out",
    arbiter::a04_a_question_on_the_screen_is_drawn_by_a_process_of_its_own {Pc}: "virtio and bochs: to who is inside a room; other letters, these, and the room's screen and keys as before",
    arbiter::a04_a_question_is_on_the_firmwares_framebuffer_and_gone_with_the_answer {Pc}: "the same without a driver for the card: UEFI's own picture, by simpledrm",
    unplugged::a04_a_display_that_is_unplugged_leaves_the_question_at_the_serial_console {Pc}: "answered there; the next one is asked without a display, where keys are no answer until there is one",
    unplugged::a04_of_two_keyboards_the_one_that_is_left_answers_a_question {Pc}: "the other is pulled out in the middle of an answer",
    arbiter::a04_a_question_on_the_screen_outlives_who_asks_it {Pc}: "who asks is killed; the screen neither shows the letters nor takes them; the serial console does",
    arbiter::a04_a_keyboard_that_comes_while_a_question_is_asked_answers_it {Pc}: "the only one is pulled out in the middle",
    arbiter::a04_without_a_serial_port_the_screen_alone_asks {Pc}: "Enter alone is no",
    screen::u07_a_person_installs_by_screen_and_keyboard_alone {Pc}: "from a stick, and the first start of the disk, whose vault is made with what is typed",
    desk::a14_of_two_rooms_the_one_in_front_has_screen_and_keys ["hostile"] {Pc}: "virtio and bochs: each shows its own picture and gets its own keys, again and again; the keys that lead to bay0, its list of rooms, and from there to the other one",
    desk::t05_no_room_reaches_the_screen_of_another ["hostile"] {Pc}: "modes, pictures and keys of others, by every call that there is for it",
    desk::c05_a_room_that_makes_pictures_without_end_is_held_at_its_memory ["hostile"] {Pc}: "virtio and bochs: the machine has its memory, and the room's limit ends the program",
    desk::t05_a_room_that_does_not_let_go_neither_draws_nor_reads ["hostile"] {Pc}: "it goes on drawing and reading while bay0 and another room have the screen: EACCES, and not one key",
    desk::a04_a_question_takes_the_screen_from_a_room_and_gives_it_back ["hostile"] {Pc}: "it gives a file away: not one key of the answer is its own, and its picture is there again",
    desk::a14_a_program_that_ends_gives_the_screen_back ["hostile"] {Pc}: "the operator line is there again; another program of that room has it next",
    desk::a14_a_room_is_told_of_keyboards_that_come_and_go ["hostile"] {Pc}: "and the keys that lead to bay0 are heard on the new one",
    desk::a14_a_desktop_is_typed_at_and_comes_back_as_it_was ["desk", "hostile"] {Pc}: "sway and foot of Debian's, without a right: a program is started by keys of a keyboard that came later, and its picture is there again after the list and another room",
    desk::a14_a_browser_shows_a_page_and_keeps_its_own_sandbox ["desk", "net", "web"] {Pc}: "Debian's Firefox on an ordinary network, from the desktop by the list of rooms: an address is typed, its page runs a script and gets keys, and what runs it is held by one more filter than the room",
    desk::a14_of_two_displays_none_shows_a_room_that_is_behind ["hostile"] {Pc}: "two cards are one seat: both the room's in front, and with bay0's list on one the other is dark",
    desk::t05_a_room_that_has_sound_open_ends_when_another_comes_forward ["desk", "hostile"] {Pc}: "it is heard until then and no more; one whose program has closed the card stays",
    desk::a14_a_room_whose_display_was_unplugged_has_its_picture_again ["hostile"] {Pc}: "while it shows the list of rooms, which is there again with the cable",
    desk::a14_two_hundred_changes_of_focus_show_the_right_picture_each_time ["hostile"] {Pc}: "under load, with keys: none reaches the wrong room",
    rights::a09_the_courier_has_the_rights_it_is_declared_with: "two sockets and a file in memory, no capability, and all but one namespace of its own",
    rights::a09_the_screen_has_the_rights_it_is_declared_with {Pc}: "no capability, no call but what drawing and reading take, nothing open but its devices",
    root::c01_a_changed_bit_of_the_root_is_noticed_before_any_verdict: "in its first and its last block, in the middle, in its hash tree: the boot ends, and it is said why",
    root::c01_a_root_that_nobody_has_read_to_its_end_is_no_root: "the child that reads it is gone, or hangs: the boot ends without a verdict, and says why",
    root::c01_there_is_no_verdict_until_all_of_the_root_has_been_read: "by a child, while the operator line answers and status knows no verdict",
    root::c01_a_spine_boots_only_with_the_line_made_for_it: "without the root hash, and with another one, there is no root",
    root::c01_a_root_that_goes_bad_restarts_the_machine: "memory changes under a running Spine: the next read of it is a restart, and the next boot is well",
    root::t01_a_write_is_tried_at_every_mount: "nothing of the root takes one, and what does is the kernel's own or in memory",
    rooms::t09_a_wrecked_room_starts_as_new: "root in a room destroys it; stopped and started it is as it was",
    rooms::t03_a_room_reaches_the_console_only_while_somebody_is_inside: "what it writes otherwise is kept for who enters; no forged line has the mark; its end gives the console back",
    siege::t03_no_attack_from_inside_a_room_gets_anywhere ["hostile"]: "root in an ordinary room and in one as wide as p://dev tries every attack on the walls",
    siege::t03_a_fork_bomb_harms_its_own_room_alone ["hostile"]: "meanwhile PID 1 answers and is well, another room works; the room is stopped and starts anew",
    siege::t03_a_memory_bomb_harms_its_own_room_alone ["hostile"]: "the same with memory",
    siege::t03_files_without_end_harm_their_own_room_alone ["hostile"]: "the same with files in memory",
    siege::t03_descriptors_without_end_harm_their_own_room_alone ["hostile"]: "the same with open files",
    siege::t02_requests_without_end_are_answered_so_often_and_no_more ["hostile"]: "the same with requests to bay0, of which it takes so many a second",
    siege::t02_a_flooded_umbilical_answers_again_at_once ["hostile"]: "after four seconds of connecting and hanging up, and beside four programs that ask without end, a room is answered and keeps what it saves",
    siege::t03_a_process_that_ignores_every_signal_ends_with_its_room ["hostile"]: "the same with a process that only its room ends",
    siege::t03_a_room_that_forks_faster_than_it_is_killed_is_stopped ["hostile"]: "the same with processes that no list of them keeps up with",
    siege::t04_pid1_answers_while_a_thousand_busy_processes_are_thawed: "the operator line and a client get answers, the slowest is told",
    siege::t03_a_machine_with_stress_ng_in_a_room_stays_well ["dev"]: "PID 1 is well while stress-ng uses up what p://dev may use",
    roomends::a05_a_nested_room_dies_and_freezes_with_the_room_it_is_in: "a nested room starts only in its parent, freezes, thaws and dies with it",
    roomends::c06_a_room_that_fails_is_started_again_with_growing_pauses_and_a_cap: "as often as the policy says, each pause twice the one before",
    roomends::c06_a_room_that_ends_by_any_signal_says_which: "by name or number, real-time signals too; nothing is left",
    roomends::c06_a_shell_that_is_left_is_there_again_in_the_same_room: "in its home, with what was written; one that ends at once is not started for ever",
    roomends::c06_a_start_that_fails_names_its_stage_and_leaves_nothing: "a program that is missing, an image that is missing: named, nothing left",
    roomends::c06_a_start_that_never_ends_is_given_up_and_its_stage_named: "after ten seconds at one stage; one that is frozen is waited for",
    roomends::c08_nothing_that_a_room_wrote_outlives_a_reboot: "not a byte on the disk, and not there after the next boot",
    roomends::c06_a_thousand_processes_go_with_their_room_awake_or_frozen: "counted before, and after it no process, group, mount, socket or descriptor more than there was",
    gate::c07_what_a_room_saved_is_there_after_a_power_cut: "files, snapshots and records, bit for bit, in the next boot; no other room sees them, and no name leaves the room's own",
    gate::u06_a_room_that_fills_its_quota_leaves_the_others_theirs: "blocks and inodes count, snapshots too; another room saves, the log goes on",
    gate::t02_a_room_keeps_no_more_than_its_policy_says: "beyond it a room is refused with the figures, and nothing of that is kept",
    gate::h10_the_keeper_has_no_right_no_network_and_sees_only_its_disk: "of capabilities, mounts, cards and system calls, it and the processes of the gate have what they need and no more",
    gate::s04_a_keeper_that_is_killed_loses_nothing_that_a_room_was_told: "what a room was told is there with the next keeper",
    gate::s04_power_cuts_while_four_rooms_write_lose_nothing_they_were_told: "as the chains, with four rooms that append at once: all that each was told, in order, and nothing of another's",
    limits::c05_a_room_at_a_limit_is_said_with_its_figures: "memory, processes and processor: the kernel holds them, bay0 says how often and at what",
    limits::c05_a_room_that_ends_at_a_limit_names_it_in_the_same_line: "memory and processes; no limit is named where none was met",
    limits::c05_a_room_reads_the_disk_as_fast_as_its_policy_says ["dev"]: "io.max: in some seconds a part, while a room without it reads all",
    images::t09_a_room_that_begins_with_the_machine_and_has_no_image_is_red: "named with the disk that is wanted; others start; one whose image is there is GREEN",
    images::t09_a_changed_image_is_refused_by_name_and_others_start: "one bit of its first block or of its hash tree; the rooms of other images start",
    images::t09_a_changed_byte_of_a_file_is_an_error_when_it_is_read: "the room has every other file",
    roomends::h08_the_end_takes_every_room_running_frozen_and_nested: "poweroff with rooms in every state is clean",
    rooms::c04_two_rooms_see_neither_each_other_nor_the_spine: "own processes, names, mounts, sockets and uids, and nobody else's",
    rooms::c04_a_rooms_terminal_is_as_large_as_the_console: "asked for at the entry and again at Ctrl-L, and the answer is not the room's",
    apart::c04_no_file_of_two_rooms_is_one_inode ["hostile"]: "device and inode number of every path in two rooms of one image: none is in both",
    apart::t03_a_room_sees_and_locks_nothing_that_another_one_uses ["hostile"]: "one watches and locks nodes, client, group and image, and is frozen; the other opens and locks them all",
    apart::c05_a_room_reads_its_own_limits_where_runtimes_look ["hostile"]: "memory, processor and processes in its own group, read-only; no other group is there",
    apart::t07_a_room_hears_its_own_echo_and_knows_its_name ["hostile"]: "ping without a capability in both families; localhost and the room's own name",
    apart::t03_what_proc_tells_of_devices_is_covered: "interrupts, disks, buses and file systems: nothing; what ordinary programs read is there",
    apart::t08_the_kernels_switches_are_set_before_a_room_starts: "addresses and log are hidden, links, pipes and files of others are not followed in shared folders: read in a room",
    apart::c06_a_signal_to_a_rooms_init_reaches_its_program: "real-time signals to process 1 of a room are its program's",
    rooms::t04_a_room_behind_uses_no_processor: "what burns is frozen behind another room and burns on in front",
    devices::t05_the_device_goes_with_the_focus_and_with_the_end: "the room in front reads the keys; behind another one, and stopped, it reads nothing more",
    devices::t05_a_room_is_refused_what_it_may_not_have: "without the word in its policy, not in front, or no such device: refused, each with its reason",
    devices::t05_a_render_node_is_one_rooms_alone_until_that_has_ended ["hostile"] {Pc}: "a second room that wants it is refused and told who has it, whoever is in front; the screen is not to be had by it",
    devices::t05_a_machine_without_a_render_node_starts_the_room_and_says_so ["hostile"]: "one line, and no folder of such devices in it",
    devices::t05_a_device_that_cannot_be_taken_back_costs_its_room: "then the focus stays with nobody, the room that has it is stopped, and others go on",
    rooms::t04_a_service_goes_on_behind_another_room_if_its_policy_says_so: "background = run: awake and working behind, and its start takes the focus from nobody",
    rooms::a08_a_room_asks_bay0_about_itself_only: "the umbilical of a room shows it and what is in it, and takes no order",
    net::t07_the_network_is_only_where_a_policy_says: "rooms fetch pages through sys://net, which starts with them, and cannot reach each other; one without a network has its loopback, the Spine has no card and no address",
    net::t07_a_room_with_every_right_on_its_network_gets_no_further: "ports, forged sources, routes and neighbours of its own: no other room, of the gateway names and echo alone",
    net::t07_the_network_comes_and_goes_with_its_room: "sys://net ends and starts anew at several instants: rooms that run have their network and addresses again, and so has one that starts",
    liars::t07_a_dhcp_server_that_lies_is_not_believed: "addresses, masks, routers and options that make no sense, messages that are none, ten thousand unasked: the honest lease is taken, and kept",
    liars::t07_a_server_of_names_that_lies_costs_its_question_alone: "malformed, huge, another's, cut off, endless: that name is not found, the next one is",
    liars::t07_fragments_reach_a_room_whole_or_not_at_all: "large echoes pass; overlapping and endless fragments cost nobody anything",
    flood::t07_a_flood_from_outside_costs_nobody_anything_but_time: "datagrams and SYNs of strangers to the port of leases, to published ports and closed ones: PID 1 answers meanwhile, a room has its page after it",
    flood::t07_a_room_that_asks_for_too_many_names_leaves_the_others_theirs: "questions and connections beyond the relay's bounds, of a server that is silent: dropped; another room has its names, and that one too once the server is back",
    flood::t07_names_are_asked_of_the_gateway_by_ipv4_and_refused_at_once_by_ipv6: "udp and tcp: the gateway answers at its IPv4 address alone",
    inbound::u03_a_published_port_is_reached_and_no_other_answers: "all ports of TCP and UDP asked: the published one answers, of the others not even an error comes",
    inbound::u03_a_published_port_of_udp_is_reached_and_answers_by_itself: "datagrams in both families, answered from the card's address and that port; every other port of UDP and TCP is silent",
    inbound::u03_a_room_reaches_what_its_policy_lists_and_nothing_else: "egress: anywhere, internet, a list, none",
    inbound::c05_a_room_that_uses_up_its_connections_leaves_the_others_theirs: "sixteen at once, the limit is said, another room goes on",
    inbound::c05_a_room_at_its_rate_is_held_and_the_limit_is_said: "bytes a second through sys://net",
    online::u02_ipv4_alone_is_a_network_for_ordinary_programs ["dev"]: "start p://dev, and nothing more: https, git clone, apt and ping by QEMU's user network without IPv6",
    online::u02_router_announcements_alone_are_a_network: "radvd with names and no DHCP: a room fetches a page, and another one when the cable was out and in",
    online::u02_two_cards_and_both_families_are_one_network_for_a_room: "Kea on two cables, radvd on one; what is left when one is out",
    online::u02_a_machine_that_is_carried_to_another_network_has_that_one: "the cable out, and in again elsewhere: dnsmasq's new lease, the room as it was",
    online::u02_a_lease_is_renewed_in_silence_and_ends_with_its_time: "ISC's server, leases of seconds; once it knows of none, another network's",
    online::u02_a_server_that_takes_an_address_back_gives_another_and_rooms_go_on: "dnsmasq's DHCPNAK to a renewal: the address goes, another one comes, a room fetches a page as before",
    online::u02_a_router_with_a_small_mtu_is_learnt_of: "megabytes through a link of 1280 bytes in both families, and DHCP's MTU on the card",
    online::u02_every_model_of_card_is_driven_and_given_an_address: "virtio, e1000e, e1000, igb, rtl8139: a lease and a page by each",
    firmware::c09_a_slot_of_zeros_falls_to_b: "nothing in A: the firmware starts B, with and without Secure Boot",
    firmware::c09_a_tampered_uki_in_a_falls_to_b: "one bit of A's Spine: refused, and B is started",
    firmware::c09_with_both_tampered_the_machine_powers_off: "one bit of both: refused, and the machine is off by itself",
    firmware::c09_a_wrecked_slot_and_a_refused_one_power_off: "nothing in A, one bit of B: B's own power-off program",
    firmware::c09_a_truncated_uki_falls_to_b_without_secure_boot: "half of A's Spine: B is started",
    firmware::c09_only_our_keys_are_enrolled: "a Spine signed by another's key, or by our platform key, is refused",
    firmware::a01_the_signed_disk_boots_under_secure_boot: "the disk boots from slot A to a verdict, the kernel says Secure Boot is on",
    firmware::c07_a_disk_of_slots_without_a_vault_is_given_one_and_asks_from_then_on: "under Secure Boot, from a slot: the partition is made a vault on the word, and the next boot asks for the passphrase",
    firmware::a02_the_register_that_moved_is_told_and_the_vault_sealed_again: "another Spine, firmware without keys: named; sealed again, the passphrase is enough",
    firmware::a01_a_stick_boots_and_has_its_persist: "on USB the disk comes late and is waited for; the second boot knows the first",
    firmware::a01_an_unsigned_uki_is_refused_under_secure_boot: "the same Spine without its signature is not started",
    firmware::a01_the_disk_boots_without_secure_boot_and_unsigned: "firmware without keys boots the same Spine unsigned",
    rights::a09_every_process_that_works_on_slots_has_the_rights_it_is_declared_with: "who finds the slots, who writes them, and who has the firmware remember",
    rights::a09_every_process_of_the_vault_has_the_rights_it_is_declared_with: "who seals it again, what asks the TPM, and cryptsetup",
    rights::a09_every_process_has_the_rights_it_is_declared_with_and_no_more: "capabilities, filter, namespaces and descriptors of each process of a busy Spine, those included that live for milliseconds",
    lines::h14_operator_line_refuses_by_byte_and_position: "unknown verbs and malformed names, each with its text",
    lines::h14_the_operator_line_is_edited_recalled_and_completed: "keys as a terminal sends them, and a half-typed line stays while the log goes on",
    lines::h20_status_and_version_name_the_build_the_slot_and_the_time: "which Spine runs, from where, for how long and since when",
    lines::a01_the_release_profile_refuses_what_the_dev_profile_allows: "no operator line, no plain /persist, no machine without Secure Boot and slots: said, and RED",
    lines::c03_release_spine_knows_no_fault_injection: "the verb of the test build is unknown to the release",
    lines::h19_operator_log_shows_the_boot_from_its_first_line: "the ring in memory has the whole boot",
}

/// Those that take minutes and repeat what shorter ones show once, or wait for a clock: `cargo xtask test` leaves them to `--full`.
const LONG: [&str; 34] = [
    "a08_a_thousand_questions_of_four_rooms_leave_nothing_behind",
    "a03_a_gibibyte_passes_from_room_to_room",
    "a03_a_room_that_ends_at_any_stage_costs_its_own_file_alone",
    "a03_a_thousand_files_in_a_row_leave_nothing_behind",
    "a04_a_question_that_nobody_answers_is_no",
    "a02_a_power_cut_while_it_is_sealed_again_leaves_the_recovery_key",
    "a02_another_tpm_is_refused_until_reseal",
    "a02_the_register_that_moved_is_told_and_the_vault_sealed_again",
    "a13_a_room_sends_an_update_where_its_policy_says_so",
    "a13_an_update_is_tried_once_and_then_first_five_times_over",
    "c09_a_first_slot_that_comes_to_no_end_is_left_for_the_other_and_that_for_off",
    "c09_load_options_in_a_boot_entry_cost_that_entry_and_no_more",
    "c09_power_cuts_burn_no_slot",
    "c10_a_power_cut_at_each_step_of_an_update_leaves_a_machine_that_boots",
    "c10_a_power_cut_during_an_update_leaves_a_machine_that_boots",
    "c10_what_is_no_good_update_is_refused_before_anything_is_written",
    "c11_a_new_spine_that_hangs_or_is_not_well_is_back_at_the_old_one_too",
    "c11_a_vault_without_a_tpm_is_no_fault_of_the_new_spine",
    "h06_an_update_on_a_slow_disk_is_taken_and_loses_nothing",
    "h06_seconds_for_each_block_and_a_room_starts_and_saves_all_the_same",
    "h07_ten_thousand_orphans_are_reaped_while_the_line_answers",
    "h16_floor_is_written_every_minute",
    "s04_power_cuts_lose_nothing_acknowledged_second_chain",
    "s04_power_cuts_while_four_rooms_write_lose_nothing_they_were_told",
    "t07_a_room_with_every_right_on_its_network_gets_no_further",
    "u05_a_new_spine_that_never_starts_is_tried_three_times",
    "u05_a_power_cut_between_any_two_boot_entries_leaves_a_machine_that_boots",
    "u05_a_power_cut_in_its_trial_burns_no_spine",
    "u05_an_update_whose_boot_entry_is_gone_is_tried_all_the_same",
    "u07_a_power_cut_during_an_installation_leaves_a_whole_spine_or_none",
    "u07_what_a_disk_keeps_stays_if_somebody_says_so_and_no_other_word_does_anything",
    "u08_a_vault_is_sealed_to_a_tpm_by_either_interface",
    "u08_of_two_disks_in_both_orders_the_booted_one_is_used",
    "a14_two_hundred_changes_of_focus_show_the_right_picture_each_time",
];

/// What `cargo xtask vm` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct VmArgs {
    /// Only the scenarios whose name contains this
    pub filter: Option<String>,
    /// Machines at once
    #[arg(long, default_value_t = 2)]
    pub jobs: usize,
    /// List the scenarios and their promises, run nothing
    #[arg(long)]
    pub list: bool,
    /// Power cuts of the whole run
    #[arg(long, default_value_t = CUTS)]
    pub cuts: u32,
    /// Leave out those that take minutes and repeat what shorter ones show; each is said
    #[arg(long)]
    pub short: bool,
    /// Seed of every random choice; a new one for each run unless given
    #[arg(long)]
    pub seed: Option<u64>,
    /// Whose machines they are.
    #[command(flatten)]
    pub kernel: Which,
    /// Build nothing, boot the Spines that the last run built
    #[arg(long)]
    pub as_built: bool,
    /// Images of rooms beside those of build/rooms.set, like busybox,dev; a scenario that needs another one is not run, and that is said
    /// [default: busybox and hostile]
    #[arg(long, value_name = "LIST", value_parser = Set::parse)]
    pub rooms: Option<Set>,
    /// What executes the guests; auto believes KVM only after a guest ran on it
    #[arg(long, value_enum, default_value_t)]
    pub accel: Choice,
}

/// `cargo xtask vm`: builds both Spines and runs what the arguments name; the exit code.
pub fn command(layout: &Layout, args: &VmArgs) -> Result<u8> {
    if args.list {
        for scenario in chosen(args.filter.as_deref()) {
            println!("{:<60} {}", scenario.name, scenario.promise);
        }
        return Ok(0);
    }
    let seed = args.seed.unwrap_or_else(new_seed);
    let bench = if args.as_built {
        as_built(layout, args.kernel.soil(), args.accel)?
    } else {
        built(layout, args.kernel.soil(), args.accel, args.rooms.as_ref())?
    };
    let bench = Bench {
        seed,
        cuts: args.cuts,
        ..bench
    };
    run(&bench, args.filter.as_deref(), args.jobs, args.short)
}

/// Brings both Spines up to date and says how machines will run.
pub fn built(layout: &Layout, soil: Soil, accel: Choice, rooms: Option<&Set>) -> Result<Bench> {
    host::need(&[
        arch::facts().qemu,
        host::TOOL_MKE2FS,
        host::TOOL_MTOOLS,
        host::TOOL_FSCK_FAT,
        host::TOOL_CC,
        host::TOOL_SWTPM,
    ])?;
    let least = rooms.map_or(TESTED.to_owned(), Set::to_string);
    let rooms = roomdisk::choose(layout, None, &least)?;
    uefi::keys(layout).ensure()?;
    spine::build(layout, soil, false, &rooms)?;
    spine::build(layout, soil, true, &rooms)?;
    spine::build_release(layout, soil, &rooms)?;
    // The same bay0 as a program for hosts, which checks what the machines leave behind.
    spine::cargo(
        layout,
        &["build", "--package", "bay0", "--quiet", "--offline"],
        |command| {
            command.env("CARGO_TARGET_DIR", layout.target(false));
        },
    )?;
    let bay0 = layout.target(false).join("debug/bay0");
    fs::create_dir_all(logs(layout)).context("create build/vm")?;
    fs::copy(&bay0, logs(layout).join("bay0"))
        .with_context(|| format!("copy {}", bay0.display()))?;
    as_built(layout, soil, accel)
}

/// The Spines that are there: a long run is not disturbed by work on the sources.
pub fn as_built(layout: &Layout, soil: Soil, accel: Choice) -> Result<Bench> {
    let (release, fault) = (layout.spine(soil, false), layout.spine(soil, true));
    let (accel, why) = accel::choose(layout, accel, &release)?;
    eprintln!("vm: soil {soil}, accelerator {} ({why})", accel.as_str());
    let logs = logs(layout);
    Ok(Bench {
        soil,
        release,
        fault,
        bay0: logs.join("bay0"),
        rooms: Some(layout.rooms_disk()).filter(|disk| disk.exists()),
        strict: layout.release(soil),
        keys: uefi::keys(layout),
        images: roomdisk::last(layout).unwrap_or_default(),
        logs,
        seed: 0,
        cuts: 0,
        accel,
    })
}

fn logs(layout: &Layout) -> PathBuf {
    layout.build().join("vm")
}

/// A seed from the clock, short enough to type.
pub fn new_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Rng::new(now.as_secs(), u64::from(now.subsec_nanos())).below(1 << 32)
}

/// Runs the scenarios that `filter` names, `jobs` at a time, but for the long ones of a `short` run; 0 if there was one and none failed,
/// else 1.
pub fn run(bench: &Bench, filter: Option<&str>, jobs: usize, short: bool) -> Result<u8> {
    let ready = runnable(bench, filter, short);
    ensure!(
        !ready.is_empty() || chosen(filter).next().is_none(),
        "no scenario could be run, see above"
    );
    ensure!(
        !ready.is_empty(),
        "no scenario has {:?} in its name; next: cargo xtask vm --list",
        filter.unwrap_or("")
    );
    println!("seed {}, consoles in {}", bench.seed, bench.logs.display());
    let (total, mut failed) = (ready.len(), Vec::new());
    crew::work(ready, jobs, limit(bench.cuts), |name, outcome, took| {
        let seconds = took.as_secs_f64();
        match outcome {
            Ok(()) => println!("ok {name} ({seconds:.1} s)"),
            Err(error) => {
                let tail = tail(bench, name, &error);
                println!("FAILED {name}: {error:#} ({seconds:.1} s){tail}");
                failed.push(name);
            }
        }
    });
    if jobs > 1 && failed.len() <= UNSTEADY {
        failed.retain(|name| !passes_alone(bench, name));
    }
    println!("{} passed, {} failed", total - failed.len(), failed.len());
    for name in &failed {
        println!("  {name}");
    }
    Ok(u8::from(!failed.is_empty()))
}

/// Runs a scenario that failed beside others once more, by itself: emulated machines that share a processor miss deadlines. That it
/// failed at first is said, and its first console is kept.
fn passes_alone(bench: &Bench, name: &str) -> bool {
    let (log, first) = (
        bench.logs.join(format!("{name}.log")),
        bench.logs.join(format!("{name}.first.log")),
    );
    let _ = fs::rename(log, &first);
    let ready = chosen(Some(name)).filter(|it| it.name == name);
    let jobs = ready.map(|it| job(it, bench));
    let mut passed = false;
    crew::work(
        jobs.collect(),
        1,
        limit(bench.cuts),
        |name, outcome, took| {
            let seconds = took.as_secs_f64();
            passed = outcome.is_ok();
            match outcome {
                Ok(()) => println!(
                    "UNSTEADY {name}: failed beside others, passes alone ({seconds:.1} s); next: read {}",
                    first.display()
                ),
                Err(error) => println!("FAILED AGAIN {name}: {error:#} ({seconds:.1} s)"),
            }
        },
    );
    passed
}

fn job(scenario: &'static Scenario, bench: &Bench) -> Job {
    let bench = bench.clone();
    let run = move || (scenario.run)(&Lab::new(&bench, scenario.name)?);
    (scenario.name, Box::new(run))
}

/// The longest that a scenario may take in a run with so many cuts.
fn limit(cuts: u32) -> Duration {
    LIMIT + LIMIT_PER_CUT * cuts
}

impl Scenario {
    /// Why it cannot be run on this bench, and what to type instead.
    fn lacks(&self, bench: &Bench) -> Option<String> {
        let name = self.name;
        if !bench.images.has(self.images) {
            let more = self.images.join(",");
            if Arch::chosen() != Arch::default() {
                return Some(format!("no image {more} is made for {}", Arch::chosen()));
            }
            return Some(format!(
                "no image; next: cargo xtask vm --rooms {SMALL},{more} {name}"
            ));
        }
        let target = bench.soil.target();
        let drives = |only: &Target| target == Some(*only);
        if self.only.is_empty() || self.only.iter().any(drives) {
            return None;
        }
        let (soil, other) = (bench.soil, self.only[0]);
        if Arch::chosen() != other.arch() {
            return Some(format!("it is about {} alone", other.arch()));
        }
        Some(format!(
            "the {soil} kernel does not drive what it takes; next: cargo xtask vm --target {other} {name}"
        ))
    }
}

/// Those that this bench has all for; the others are said, each with what it takes.
fn runnable(bench: &Bench, filter: Option<&str>, short: bool) -> VecDeque<Job> {
    let has = |scenario: &&Scenario| {
        let long = short && LONG.contains(&scenario.name);
        let next = || format!("takes minutes; next: cargo xtask vm {}", scenario.name);
        let lacks = scenario.lacks(bench).or_else(|| long.then(next));
        if let Some(why) = &lacks {
            println!("NOT RUN {}: {why}", scenario.name);
        }
        lacks.is_none()
    };
    let ready = chosen(filter).filter(has);
    ready.map(|it| job(it, bench)).collect()
}

fn chosen(filter: Option<&str>) -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS
        .iter()
        .filter(move |s| filter.is_none_or(|f| s.name.contains(f)))
}

fn tail(bench: &Bench, name: &str, error: &anyhow::Error) -> String {
    if format!("{error:#}").contains("last lines:") {
        return String::new();
    }
    let log = bench.logs.join(format!("{name}.log"));
    let bytes = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    format!("; {} ends:\n{last}", log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k07_what_a_short_run_leaves_out_is_there_to_be_run() {
        for name in LONG {
            assert_eq!(
                SCENARIOS.iter().filter(|it| it.name == name).count(),
                1,
                "{name}"
            );
        }
    }
}
