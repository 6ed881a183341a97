# Leak.pm
#	  Looks for secrets in bytes: as they are, and in every encoding that a log,
#	  a protocol or a file may give them.
#
#	my $leak = RotateTest::Leak->new;
#	$leak->add('the new password', $password);
#	my @found = $leak->in_bytes($bytes, 'where');     # "the end of the new password, as hex, in where"
#	@found = $leak->in_files($directory);
#
# Of each secret its first and its last 16 characters are looked for, so that
# one that was cut off is found too.  What is found is never shown.

package RotateTest::Leak;

use strict;
use warnings;

use Encode qw(encode);
use Exporter 'import';
use File::Find ();
use MIME::Base64 qw(encode_base64);

our @EXPORT_OK = qw(%encodings nasty_password);

my $WINDOW = 16;
my $CHUNK = 4 * 1024 * 1024;

# name => the bytes that stand for a text of characters
our %encodings = (
	'plain text' => \&utf8,
	'JSON' => sub { return utf8(json($_[0])); },
	'JSON in JSON' => sub { return utf8(json(json($_[0]))); },
	'JSON in ASCII' => sub { return ascii_json($_[0]); },
	'JSON in ASCII, in JSON' => sub { return json(ascii_json($_[0])); },
	'JSON with \/' => sub { return utf8(json($_[0]) =~ s{/}{\\/}gr); },
	'JSON for HTML' => sub { return utf8(json($_[0]) =~ s/([<>&'])/sprintf '\\u%04x', ord $1/ger); },
	'SQL literal' => sub { return utf8($_[0] =~ s/(['\\])/$1$1/gr); },
	'CSV' => sub { return utf8($_[0] =~ s/"/""/gr); },
	'XML' => sub { return utf8(xml($_[0])); },
	'bytea escapes' => sub { return utf8($_[0]) =~ s/\\/\\\\/gr =~ s/([\x80-\xff])/sprintf '\\%03o', ord $1/ger; },
	'hex' => sub { return unpack 'H*', utf8($_[0]); },
	'bytes of a tree' => sub { return join ' ', unpack 'c*', utf8($_[0]); },
	'HEX' => sub { return uc unpack 'H*', utf8($_[0]); },
	'URL' => sub { return url($_[0], '%%%02X'); },
	'url' => sub { return url($_[0], '%%%02x'); },
	'UTF-16LE' => sub { return encode('UTF-16LE', $_[0]); },
	'UTF-16BE' => sub { return encode('UTF-16BE', $_[0]); },
	map {
		my $before = $_;
		(
			"base64 at $before" => sub { return base64($_[0], $before); },
			"base64url at $before" => sub { return base64($_[0], $before) =~ tr{+/}{-_}r; })
	} 0 .. 2);

sub utf8 { return encode('UTF-8', $_[0]); }

sub json { return $_[0] =~ s/(["\\])/\\$1/gr; }

sub ascii_json { return json($_[0]) =~ s/([^\x00-\x7f])/sprintf '\\u%04x', ord $1/ger; }

sub xml
{
	my %entities = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;', '"' => '&quot;');
	return $_[0] =~ s/([&<>"])/$entities{$1}/gr;
}

sub url
{
	my ($text, $format) = @_;
	return utf8($text) =~ s/([^A-Za-z0-9._~-])/sprintf $format, ord $1/ger;
}

# The digits that are the same whatever stands around the text, if so many
# bytes (modulo 3) stand before it.
sub base64
{
	my ($text, $before) = @_;
	my $bytes = ("\0" x $before) . utf8($text);
	my $first = (0, 2, 3)[$before];
	return substr(encode_base64($bytes, ''), $first, int(length($bytes) * 8 / 6) - $first);
}

# nasty_password(MIDDLE): what differs in each encoding, with an end that no
# way of escaping changes.
sub nasty_password
{
	my $middle = shift // '';
	my @characters = ('a' .. 'z', 'A' .. 'Z', 0 .. 9);
	my $random = sub { return join '', map { $characters[ rand @characters ] } 1 .. $_[0]; };

	return $random->(2) . '%&<>?>/' . "\x{e9}" . '"\\\'' . $random->(3) . $middle . $random->(20);
}

sub new { return bless { patterns => {} }, shift; }

# add(NAME, SECRET): look for this from now on.
sub add
{
	my ($self, $name, $secret) = @_;

	die "\"$name\" is too short to be looked for" if length($secret) < $WINDOW;
	my %windows = ('the start of ' => substr($secret, 0, $WINDOW), 'the end of ' => substr($secret, -$WINDOW));
	foreach my $which (keys %windows)
	{
		$self->{patterns}{ $encodings{$_}->($windows{$which}) } //= "$which$name, as $_"
		  foreach 'plain text', sort keys %encodings;
	}
	delete $self->{regexp};
	return;
}

sub _regexp
{
	my $self = shift;

	if (!defined $self->{regexp})
	{
		# Perl makes one automaton of all alternatives, if it may be so large.
		local ${^RE_TRIE_MAXBUF} = 1 << 26;
		my $any = join '|', map { quotemeta } sort keys %{ $self->{patterns} };
		$self->{regexp} = qr/($any)/;
	}
	return $self->{regexp};
}

sub _longest
{
	my $longest = 0;
	foreach my $pattern (keys %{ $_[0]{patterns} })
	{
		$longest = length $pattern if length $pattern > $longest;
	}
	return $longest;
}

# in_bytes(BYTES, WHERE): what was found, each thing once.
sub in_bytes
{
	my ($self, $bytes, $where) = @_;
	my $regexp = $self->_regexp;
	my %found;

	$found{"$self->{patterns}{$1}, in $where"} = 1 while $bytes =~ /$regexp/g;
	my @found = sort keys %found;
	return @found;
}

sub in_text { my ($self, $text, $where) = @_; return $self->in_bytes(utf8($text), $where); }

# A file that vanishes meanwhile has nothing to tell.
sub in_file
{
	my ($self, $path) = @_;
	my $overlap = $self->_longest;
	my ($buffer, $kept) = ('', '');
	my %found;

	open my $file, '<:raw', $path or return;
	while (read $file, $buffer, $CHUNK)
	{
		my $bytes = $kept . $buffer;
		$found{$_} = 1 foreach $self->in_bytes($bytes, $path);
		$kept = length $bytes > $overlap ? substr $bytes, -$overlap : $bytes;
		$self->{searched} += length $buffer;
	}
	close $file;
	my @found = sort keys %found;
	return @found;
}

# in_files(DIRECTORY, skip pattern): every file below it; its size in
# searched(), and how many there were in files().
sub in_files
{
	my ($self, $directory, $skip) = @_;
	my @paths;

	File::Find::find(
		{
			no_chdir => 1,
			wanted => sub { push @paths, $_ if -f $_ && (!defined $skip || $_ !~ $skip); }
		},
		$directory);
	($self->{searched}, $self->{files}) = (0, scalar @paths);
	return map { s/\Q$directory\E\///r } map { $self->in_file($_) } sort @paths;
}

sub searched { return $_[0]{searched}; }
sub files { return $_[0]{files}; }

1;
