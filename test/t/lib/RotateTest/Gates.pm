# Gates.pm
#	  TCP gates before a role's login: gate.py says what they can do.  They end
#	  with this object.
#
#	my $gates = RotateTest::Gates->new;
#	my $port = $gates->do('listen', upstream => $t->port)->{port};

package RotateTest::Gates;

use strict;
use warnings;

use IPC::Open2 qw(open2);
use JSON::PP ();

my $json = JSON::PP->new->utf8->canonical;

sub new
{
	my $self = bless {}, shift;

	$self->{pid} = open2($self->{out}, $self->{in}, '/usr/bin/python3', '-B', __FILE__ =~ s/Gates\.pm$/gate.py/r);
	return $self;
}

# do(COMMAND, member => value, ...): its answer.
sub do
{
	my ($self, $do, %members) = @_;

	print { $self->{in} } $json->encode({ do => $do, %members }), "\n";
	my $line = readline $self->{out};
	die 'the gates have ended' unless defined $line;
	return $json->decode($line);
}

sub DESTROY
{
	my $self = shift;
	local ($?, $!);

	close $self->{in};
	waitpid $self->{pid}, 0;
	return;
}

1;
